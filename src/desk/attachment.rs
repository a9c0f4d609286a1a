//! Files attached to a tip, the decisions and records of its settlement: what may be attached, and when one may be taken back. Rows are in
//! `db/attachments.rs`, pages in `web/tip_files.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::access::User;
use super::db::attachments::FileRow;
use super::duty::DutyError;
use super::room::{Room, digest, new_id};
use super::tip::Refusal;
use super::tips_duty::{record, worked_on};
use crate::clock::utc_now;

/// Largest file, bytes.
pub(crate) const MAX_BYTES: usize = 10 * 1024 * 1024;
/// Files of one tip, at most; those withdrawn do not count.
pub(crate) const MAX_FILES: usize = 20;
/// Characters of a name, without its ending.
const MAX_NAME: usize = 100;

/// What a file is, by its first bytes: what somebody calls it counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pdf,
    Jpeg,
    Png,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Pdf, Self::Jpeg, Self::Png];

    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let begins = |kind: &Self| match kind {
            Self::Pdf => bytes.starts_with(b"%PDF-"),
            Self::Jpeg => bytes.starts_with(&[0xff, 0xd8, 0xff]),
            Self::Png => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        };
        Self::ALL.into_iter().find(begins)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.ending() == text)
    }

    /// Ending of its name, and its name in the database.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// A name that is no path, hides nothing and ends as the file is.
fn safe_name(sent: &str, kind: Kind) -> String {
    // What turns the direction of writing makes `fdp.exe` of `exe.pdf`.
    let hidden = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().filter(|c| !hidden(c)).collect();
    let stem = match plain.rsplit_once('.') {
        Some((stem, end)) if ["pdf", "jpg", "jpeg", "png"].iter().any(|e| end.eq_ignore_ascii_case(e)) => stem,
        _ => &plain,
    };
    let stem: String = stem.trim().chars().take(MAX_NAME).collect();
    format!("{}.{}", if stem.is_empty() { "tep" } else { &stem }, kind.ending())
}

/// Attaches a file to a tip that is worked on, or was settled: decisions come late, like money.
pub(crate) async fn attach(
    room: &Room,
    user: &User,
    tip: &str,
    name: &str,
    bytes: &[u8],
    note: &str,
) -> Result<(), DutyError> {
    if bytes.len() > MAX_BYTES {
        return Err(DutyError::Refused("refusal.file_large"));
    }
    let kind = Kind::of(bytes).ok_or(DutyError::Refused("refusal.file_kind"))?;
    let (sha256, base64) = (digest(bytes), STANDARD.encode(bytes));
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let t = worked_on(&mut tx, user, tip).await?;
    let there: Vec<FileRow> = tx.files(tip).await?.into_iter().filter(|f| f.withdrawn_ms.is_none()).collect();
    if there.iter().any(|f| f.sha256 == sha256) {
        return Err(DutyError::Refused("refusal.file_twice"));
    }
    if there.len() >= MAX_FILES {
        return Err(DutyError::Refused("refusal.file_many"));
    }
    let row = FileRow {
        id: new_id(now),
        tip_id: tip.into(),
        name: safe_name(name, kind),
        kind: kind.ending().into(),
        bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        sha256,
        note: note.into(),
        account: user.name.clone(),
        at_ms: now,
        withdrawn_ms: None,
        withdrawn_by: None,
        withdrawn_why: None,
    };
    tx.add_file(&row, base64).await?;
    record(&mut tx, user, &t, "file", format!("{} SHA-256 {} {note}", row.name, row.sha256).trim(), now).await?;
    Ok(tx.commit().await?)
}

/// Whether a file may be taken back: what was there when the tip was settled belongs to that settlement, also where it was reopened.
pub(crate) fn may_withdraw(file: &FileRow, is_settled: bool, settled_last: Option<i64>) -> bool {
    file.withdrawn_ms.is_none() && !is_settled && settled_last.is_none_or(|at| at < file.at_ms)
}

/// Takes a file back, for a reason. Its row and what is in it stay in the database; nobody is given it any more.
pub(crate) async fn withdraw(room: &Room, user: &User, tip: &str, file: &str, why: &str) -> Result<(), DutyError> {
    if why.is_empty() {
        return Err(DutyError::Refused(Refusal::NeedsReason.key()));
    }
    let now = utc_now().0;
    let mut tx = room.db.write().await?;
    let t = worked_on(&mut tx, user, tip).await?;
    let found = tx.files(tip).await?.into_iter().find(|f| f.id == file && f.withdrawn_ms.is_none());
    let found = found.ok_or(DutyError::NotFound)?;
    if !may_withdraw(&found, t.settled_ms.is_some(), tx.settled_last(tip).await?) {
        return Err(DutyError::Refused("refusal.file_settled"));
    }
    tx.withdraw_file(file, &user.name, why, now).await?;
    record(&mut tx, user, &t, "file_withdraw", &format!("{} SHA-256 {} {why}", found.name, found.sha256), now).await?;
    Ok(tx.commit().await?)
}

/// What is in a file; `None` when it is not what was attached any more.
pub(crate) fn content(file: &FileRow, base64: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(base64).ok()?;
    (digest(&bytes) == file.sha256).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_begins_with_and_is_called_so() {
        assert_eq!(Kind::of(b"%PDF-1.7"), Some(Kind::Pdf));
        assert_eq!(Kind::of(&[0xff, 0xd8, 0xff, 0xe0]), Some(Kind::Jpeg));
        assert_eq!(Kind::of(b"\x89PNG\r\n\x1a\n\0"), Some(Kind::Png));
        for other in [&b""[..], b"MZ", b"<html>", b" %PDF-1.7", b"PK\x03\x04", b"GIF89a", b"\x89PNG"] {
            assert_eq!(Kind::of(other), None, "{other:?}");
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.ending()), Some(kind));
        }
        for (sent, name) in [
            ("Quyết định 12.PDF", "Quyết định 12.pdf"),
            ("C:\\tmp\\biên bản.jpeg", "biên bản.pdf"),
            ("../../etc/passwd", "passwd.pdf"),
            ("ảnh\u{202e}gpj.exe", "ảnhgpj.exe.pdf"),
            ("a\r\nSet-Cookie: x", "aSet-Cookie: x.pdf"),
            ("", "tep.pdf"),
            (".pdf", "tep.pdf"),
            ("đ", "đ.pdf"),
        ] {
            assert_eq!(safe_name(sent, Kind::Pdf), name, "{sent:?}");
        }
        assert_eq!(safe_name(&"đ".repeat(500), Kind::Png).chars().count(), MAX_NAME + 4);
    }

    #[test]
    fn what_a_settlement_rests_on_is_not_taken_back() {
        let file = FileRow {
            id: "f".into(),
            tip_id: "t".into(),
            name: "a.pdf".into(),
            kind: "pdf".into(),
            bytes: 5,
            sha256: digest(b"%PDF-"),
            note: String::new(),
            account: "an".into(),
            at_ms: 10,
            withdrawn_ms: None,
            withdrawn_by: None,
            withdrawn_why: None,
        };
        assert!(may_withdraw(&file, false, None) && may_withdraw(&file, false, Some(9)), "added since it was reopened");
        assert!(!may_withdraw(&file, true, None) && !may_withdraw(&file, false, Some(10)));
        assert!(!may_withdraw(&FileRow { withdrawn_ms: Some(11), ..file.clone() }, false, None), "once is enough");
        assert_eq!(content(&file, &STANDARD.encode(b"%PDF-")).as_deref(), Some(&b"%PDF-"[..]));
        assert!(content(&file, &STANDARD.encode(b"%PDF+")).is_none() && content(&file, "?").is_none());
    }
}
