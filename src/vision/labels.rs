//! Class names: from the configuration, the model's metadata, a side-car file, or COCO. Text in, names out.

/// The 80 classes of COCO in the usual order.
const COCO: &str = "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign \
    parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase \
    frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle \
    wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair \
    couch potted_plant bed dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink \
    refrigerator book clock vase scissors teddy_bear hair_drier toothbrush";

/// COCO's own numbers run to 90 and leave these out.
const COCO_GAPS: [usize; 10] = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83];

/// COCO's names when there are 80 classes in a row, 90 with COCO's own numbers from 1, or 91 from 0.
#[must_use]
pub fn coco(classes: usize) -> Option<Vec<String>> {
    let mut names = COCO.split_whitespace().map(str::to_owned);
    let unused = || "unused".to_owned();
    match classes {
        80 => Some(names.collect()),
        90 | 91 => {
            let by_number =
                (1..=90).map(|n| if COCO_GAPS.contains(&n) { unused() } else { names.next().unwrap_or_else(unused) });
            Some(std::iter::repeat_with(unused).take(classes - 90).chain(by_number).collect())
        }
        _ => None,
    }
}

/// Names as models carry them: a JSON list, or the text of a Python dictionary `{0: 'person', 1: "traffic light"}`.
/// Blanks within a name become `_`. Empty when the text is neither.
#[must_use]
pub fn parse(text: &str) -> Vec<String> {
    let names = serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| quoted(text));
    names.into_iter().map(|n| n.trim().replace(' ', "_")).collect()
}

/// Lines of a side-car file.
#[must_use]
pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| l.replace(' ', "_")).collect()
}

/// The values of a Python dictionary or list literal, by the order written: every string not followed by a colon.
fn quoted(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\'' && c != '"' {
            continue;
        }
        let mut name = String::new();
        while let Some(n) = chars.next() {
            match n {
                '\\' => name.extend(chars.next()),
                n if n == c => break,
                n => name.push(n),
            }
        }
        if chars.peek() != Some(&':') {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_json_and_from_python_text() {
        assert_eq!(parse(r#"["person", "fork lift"]"#), ["person", "fork_lift"]);
        assert_eq!(parse(r#"{0: 'person', 1: "driver's cab", 2: 'a\'b'}"#), ["person", "driver's_cab", "a'b"]);
        assert_eq!(parse(r#"{"0": "person", "1": "car"}"#), ["person", "car"]);
        assert!(parse("none").is_empty());
        assert_eq!(coco(80).unwrap()[79], "toothbrush");
        assert_eq!(coco(7), None);
        let (ids, from_zero) = (coco(90).unwrap(), coco(91).unwrap());
        assert_eq!((ids.len(), ids[0].as_str(), ids[89].as_str()), (90, "person", "toothbrush"));
        assert_eq!((from_zero.len(), from_zero[8].as_str(), from_zero[12].as_str()), (91, "truck", "unused"));
    }
}
