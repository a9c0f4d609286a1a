//! Passwords: argon2id hashes, what a good one is, and one-time ones. Work is done off the event loop.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::Semaphore;

/// Shortest password somebody may choose.
pub(crate) const SHORTEST: usize = 12;
/// Letters of one-time passwords: none that is taken for another.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Passwords worked on at once: each takes 19 MiB and a core for a while, and anybody may ask for it.
static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Work off the event loop, when it is its turn.
async fn work<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let _turn = AT_ONCE.acquire().await.map_err(|e| e.to_string())?;
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())
}

/// A hash to store.
pub(crate) async fn hash(password: String) -> Result<String, String> {
    let done = work(move || Argon2::default().hash_password(password.as_bytes()).map(|h| h.to_string())).await?;
    done.map_err(|e| format!("the password cannot be hashed: {e}"))
}

/// Whether it is the password of the hash. Without a hash the same time is spent, so that nobody learns which accounts exist.
pub(crate) async fn is_right(password: String, stored: Option<String>) -> bool {
    let right = work(move || {
        let Some(stored) = stored else {
            let _ = Argon2::default().hash_password(password.as_bytes());
            return false;
        };
        let parsed = PasswordHash::new(&stored);
        parsed.is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok())
    });
    right.await.unwrap_or(false)
}

/// For the first sign-in; some 59 bits.
pub(crate) fn one_time() -> String {
    let letter = |_| char::from(LETTERS[rand::random_range(0..LETTERS.len())]);
    let groups: Vec<String> = (0..3).map(|_| (0..4).map(letter).collect()).collect();
    groups.join("-")
}

/// A secret nobody types: 256 random bits.
pub(crate) fn token() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// What is wrong with a chosen password; the key of a sentence in `words.rs`.
pub(crate) fn problem(chosen: &str, again: &str, account: &str) -> Option<&'static str> {
    let distinct: std::collections::HashSet<char> = chosen.chars().collect();
    if chosen != again {
        Some("password.differ")
    } else if chosen.chars().count() < SHORTEST {
        Some("password.short")
    } else if distinct.len() < 5 || (account.len() > 3 && chosen.to_lowercase().contains(&account.to_lowercase())) {
        Some("password.simple")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_and_knows_its_password_only() {
        let stored = hash("dong dang 2026".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        assert!(is_right("dong dang 2026".into(), Some(stored.clone())).await);
        assert!(!is_right("dong dang 2027".into(), Some(stored)).await);
        assert!(!is_right("x".into(), None).await);
        assert!(!is_right("x".into(), Some("no hash".into())).await);
    }

    #[tokio::test]
    async fn only_so_many_are_worked_on_at_once() {
        let turns = AT_ONCE.acquire_many(4).await.unwrap();
        let mut waits = std::pin::pin!(is_right("x".into(), Some("no hash".into())));
        let short = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(short, waits.as_mut()).await.is_err());
        drop(turns);
        assert!(!waits.await);
    }

    #[test]
    fn a_chosen_password_is_long_and_not_the_name() {
        assert_eq!(problem("abcdefghijkl", "abcdefghijkm", "an"), Some("password.differ"));
        assert_eq!(problem("abcdefg", "abcdefg", "an"), Some("password.short"));
        assert_eq!(problem("aaaaaaaaaaaaaa", "aaaaaaaaaaaaaa", "x"), Some("password.simple"));
        assert_eq!(problem("Nguyen-van-x1", "Nguyen-van-x1", "nguyen"), Some("password.simple"));
        assert_eq!(problem("bốn bức tường xanh", "bốn bức tường xanh", "an"), None);
        assert_eq!(one_time().len(), 14);
        assert_ne!(token(), token());
    }
}
