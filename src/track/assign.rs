//! Optimal assignment (Hungarian method with shortest augmenting paths). Numbers in, pairs out.

/// Pairs (row, column) with the greatest sum of similarities; pairs with similarity 0 or less are not made.
/// `similarity[row][column]`, all rows of one length, values up to 1.
pub(super) fn assign(similarity: &[Vec<f32>]) -> Vec<(usize, usize)> {
    let (rows, columns) = (similarity.len(), similarity.first().map_or(0, Vec::len));
    if columns == 0 {
        return Vec::new();
    }
    // The method wants no more rows than columns.
    let turned = rows > columns;
    let cost = |r: usize, c: usize| {
        let s = if turned { similarity[c][r] } else { similarity[r][c] };
        1.0 - f64::from(s.max(0.0))
    };
    let column_of = if turned { solve(columns, rows, cost) } else { solve(rows, columns, cost) };
    let pairs = column_of.into_iter().enumerate().map(|(r, c)| if turned { (c, r) } else { (r, c) });
    let mut pairs: Vec<_> = pairs.filter(|&(r, c)| similarity[r][c] > 0.0).collect();
    pairs.sort_unstable();
    pairs
}

/// The column of each row, least total cost; `n <= m`. Rows and columns count from 1 inside, 0 is the outside.
fn solve(n: usize, m: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    let (mut u, mut v) = (vec![0.0; n + 1], vec![0.0; m + 1]);
    let (mut row_of, mut way) = (vec![0usize; m + 1], vec![0usize; m + 1]);
    for row in 1..=n {
        row_of[0] = row;
        let mut at = 0;
        let mut least = vec![f64::INFINITY; m + 1];
        let mut used = vec![false; m + 1];
        while row_of[at] != 0 {
            used[at] = true;
            let (mut delta, mut next) = (f64::INFINITY, 0);
            for c in (1..=m).filter(|&c| !used[c]) {
                let reduced = cost(row_of[at] - 1, c - 1) - u[row_of[at]] - v[c];
                if reduced < least[c] {
                    (least[c], way[c]) = (reduced, at);
                }
                if least[c] < delta {
                    (delta, next) = (least[c], c);
                }
            }
            for c in 0..=m {
                if used[c] {
                    u[row_of[c]] += delta;
                    v[c] -= delta;
                } else {
                    least[c] -= delta;
                }
            }
            at = next;
        }
        while at != 0 {
            row_of[at] = row_of[way[at]];
            at = way[at];
        }
    }
    let mut column_of = vec![0; n];
    (1..=m).filter(|&c| row_of[c] > 0).for_each(|c| column_of[row_of[c] - 1] = c - 1);
    column_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(similarity: &[Vec<f32>], pairs: &[(usize, usize)]) -> f32 {
        pairs.iter().map(|&(r, c)| similarity[r][c]).sum()
    }

    fn best(similarity: &[Vec<f32>], row: usize, used: &mut Vec<bool>) -> f32 {
        if row == similarity.len() {
            return 0.0;
        }
        let mut most = best(similarity, row + 1, used);
        for c in 0..used.len() {
            if !used[c] {
                used[c] = true;
                most = most.max(similarity[row][c].max(0.0) + best(similarity, row + 1, used));
                used[c] = false;
            }
        }
        most
    }

    proptest! {
        #[test]
        fn no_other_assignment_is_better(rows in 0usize..5, columns in 1usize..5, seed in prop::collection::vec(-0.5f32..1.0, 25)) {
            let s: Vec<Vec<f32>> = (0..rows).map(|r| (0..columns).map(|c| seed[r * 5 + c]).collect()).collect();
            let pairs = assign(&s);
            let mut taken: Vec<usize> = pairs.iter().map(|p| p.1).collect();
            taken.sort_unstable();
            taken.dedup();
            prop_assert_eq!(taken.len(), pairs.len());
            prop_assert!((sum(&s, &pairs) - best(&s, 0, &mut vec![false; columns])).abs() < 1e-4);
        }
    }
}
