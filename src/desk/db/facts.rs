//! Facts of the clearance side as rows: every version once, the one in force marked. Which topics they come on and what those of
//! one declaration come to is in `desk/fact.rs`.

use sqlx::AssertSqlSafe;

use super::{Db, DbError, Scope, Tx, all_words, patterns};
use crate::customs::register::against;
use crate::customs::{Fact, Outcome};
use crate::desk::fact::{KINDS, keys_of, owner_of, search_of};
use crate::desk::message::{parsed, text};
use crate::desk::room::digest;

/// Versions of the facts of one kind that a declaration's page looks at: those in force, then the newest.
const MAX_VERSIONS: i64 = 500;

/// One version of a fact.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct FactRow {
    /// Of the topic.
    pub office: String,
    pub kind: String,
    pub key: String,
    pub version: i64,
    /// `current`, `superseded` or `stale`.
    pub state: String,
    /// Whose it is.
    pub owner: String,
    /// When its system was asked.
    pub fetched_ms: Option<i64>,
    /// When it came first, and when it was last said again.
    pub heard_ms: i64,
    pub again_ms: i64,
    pub body: String,
}

/// A declaration that was found by words.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct FoundFact {
    pub key: String,
    pub owner: String,
    pub body: String,
}

impl Tx {
    /// Keeps a fact that came on a topic of `office`, and says what became of it. One kept before is a duplicate, also where it is
    /// not the one in force.
    pub(crate) async fn keep_fact(&mut self, office: &str, fact: &Fact, now_ms: i64) -> Result<Outcome, DbError> {
        let (kind, key) = (fact.kind().as_str(), fact.key());
        let select = "SELECT body FROM fact WHERE office = $1 AND kind = $2 AND key = $3 AND state = 'current'";
        let known = sqlx::query_scalar::<_, String>(select).bind(office).bind(kind).bind(key);
        let known = known.fetch_optional(&mut **self).await?;
        // One that cannot be read any more is followed by any other.
        let known = known.and_then(|body| Fact::from_json(fact.kind(), body.as_bytes()).ok());
        let outcome = known.map_or(Outcome::Applied, |known| against(fact, &known.value));
        let state = match outcome {
            Outcome::Duplicate => return self.fact_again(office, fact, now_ms).await.map(|()| outcome),
            Outcome::Applied => "current",
            Outcome::Stale { .. } => "stale",
            Outcome::Conflict => "conflict",
        };
        if state == "current" {
            self.make_way(office, fact).await?;
        }
        let new = self.insert_fact(office, fact, state, now_ms).await?;
        Ok(if new { outcome } else { Outcome::Duplicate })
    }

    /// It says what is known: the feed is as young as that.
    async fn fact_again(&mut self, office: &str, fact: &Fact, now_ms: i64) -> Result<(), DbError> {
        let update = "UPDATE fact SET again_ms = $4, fetched_ms = CASE WHEN fetched_ms IS NULL OR $5 > fetched_ms THEN $5 ELSE fetched_ms END
                      WHERE office = $1 AND kind = $2 AND key = $3 AND state = 'current'";
        let query = sqlx::query(update).bind(office).bind(fact.kind().as_str()).bind(fact.key()).bind(now_ms);
        query.bind(fetched_ms(fact)).execute(&mut **self).await?;
        Ok(())
    }

    /// The one in force is not any more; the new one is about other declarations, perhaps.
    async fn make_way(&mut self, office: &str, fact: &Fact) -> Result<(), DbError> {
        let (kind, key) = (fact.kind().as_str(), fact.key());
        let update =
            "UPDATE fact SET state = 'superseded' WHERE office = $1 AND kind = $2 AND key = $3 AND state = 'current'";
        sqlx::query(update).bind(office).bind(kind).bind(key).execute(&mut **self).await?;
        let delete = "DELETE FROM fact_decl WHERE office = $1 AND kind = $2 AND key = $3";
        sqlx::query(delete).bind(office).bind(kind).bind(key).execute(&mut **self).await?;
        let insert = "INSERT INTO fact_decl (decl_key, office, kind, key) VALUES ($1, $2, $3, $4)";
        for decl in keys_of(fact) {
            sqlx::query(insert).bind(decl).bind(office).bind(kind).bind(key).execute(&mut **self).await?;
        }
        Ok(())
    }

    /// `false` when this very version is kept already.
    async fn insert_fact(&mut self, office: &str, fact: &Fact, state: &str, now_ms: i64) -> Result<bool, DbError> {
        let twice = if state == "current" { "UPDATE SET state = excluded.state" } else { "NOTHING" };
        // Only texts of this file are put together.
        let insert = AssertSqlSafe(format!(
            "INSERT INTO fact (office, kind, key, version, sha256, state, owner, search, fetched_ms, heard_ms, again_ms, body, type_code)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12)
             ON CONFLICT (office, kind, key, version, sha256) DO {twice}"
        ));
        let sha256 = digest(fact.said().to_string());
        let query = sqlx::query(insert).bind(office).bind(fact.kind().as_str()).bind(fact.key()).bind(fact.version());
        let query = query.bind(sha256).bind(state).bind(owner_of(office, fact)).bind(search_of(fact));
        let query = query.bind(fetched_ms(fact)).bind(now_ms).bind(fact.to_value().to_string());
        let query = query.bind(type_code(fact));
        Ok(query.execute(&mut **self).await?.rows_affected() == 1)
    }
}

fn type_code(fact: &Fact) -> String {
    if let Fact::Declaration(d) = fact { d.type_code.clone().unwrap_or_default() } else { String::new() }
}

fn fetched_ms(fact: &Fact) -> Option<i64> {
    if let Fact::Declaration(d) = fact { d.fetched_at.map(|at| at.0) } else { None }
}

impl Db {
    /// All that was said of a declaration, but for what contradicts the fact in force. Whose it is, the caller looks at.
    pub(crate) async fn facts_of(&self, decl_key: &str) -> Result<Vec<FactRow>, DbError> {
        let select = "SELECT f.office, f.kind, f.key, f.version, f.state, f.owner, f.fetched_ms, f.heard_ms, f.again_ms, f.body
                      FROM fact_decl l JOIN fact f ON f.office = l.office AND f.kind = l.kind AND f.key = l.key
                      WHERE l.decl_key = $1 AND l.kind = $2 AND f.state <> 'conflict'
                      ORDER BY CASE WHEN f.state = 'current' THEN 0 ELSE 1 END, f.version DESC, f.heard_ms DESC LIMIT $3";
        let mut all = Vec::new();
        for kind in KINDS {
            let query = sqlx::query_as(select).bind(decl_key).bind(kind.as_str()).bind(MAX_VERSIONS);
            all.extend(query.fetch_all(&self.pool).await?);
        }
        Ok(all)
    }

    /// Type codes of the declarations that issued tips name, as the clearance system says now: declaration and code. Only of those that
    /// `scope` sees; of several words about one the newest last.
    pub(crate) async fn type_codes(&self, scope: &Scope) -> Result<Vec<(String, String)>, DbError> {
        // Only what an older desk kept has to be read.
        let select = "SELECT DISTINCT f.key, f.version, f.heard_ms, f.type_code,
                        CASE WHEN f.type_code IS NULL THEN f.body ELSE '' END AS body
                      FROM tip t
                      JOIN fact_decl l ON l.decl_key = t.decl_key AND l.kind = 'declaration'
                      JOIN fact f ON f.office = l.office AND f.kind = l.kind AND f.key = l.key AND f.state = 'current'
                      WHERE t.issued_ms IS NOT NULL AND ($1 = '*' OR $1 LIKE '%,' || f.owner || ',%')
                      ORDER BY f.version, f.heard_ms";
        let query = sqlx::query_as::<_, (String, i64, i64, Option<String>, String)>(select).bind(&scope.0);
        let all = query.fetch_all(&self.pool).await?.into_iter();
        let code = |(key, _, _, kept, body): (String, i64, i64, Option<String>, String)| {
            Some((key, kept.or_else(|| text(&parsed(&body), "/type_code"))?)).filter(|(_, code)| !code.is_empty())
        };
        Ok(all.filter_map(code).collect())
    }

    /// Declarations that `scope` sees and whose number, containers, plates or seals hold `words`, those heard of last first.
    pub(crate) async fn declarations_with(&self, scope: &Scope, words: &str) -> Result<Vec<FoundFact>, DbError> {
        let select = format!(
            "SELECT key, owner, body FROM fact WHERE kind = 'declaration' AND state = 'current'
             AND ($1 = '*' OR $1 LIKE '%,' || owner || ',%') AND {} ORDER BY heard_ms DESC, key LIMIT 50",
            all_words("search", 2)
        );
        let query = sqlx::query_as(AssertSqlSafe(select)).bind(&scope.0);
        let query = patterns(words).into_iter().fold(query, |query, pattern| query.bind(pattern));
        Ok(query.fetch_all(&self.pool).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customs::FactKind;
    use serde_json::{Value, json};

    fn declaration(version: i64, more: &Value) -> Fact {
        let mut said = json!({"decl_no": "10000001234", "version": version});
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Fact::from_json(FactKind::Declaration, said.to_string().as_bytes()).unwrap().value
    }

    #[tokio::test]
    async fn facts_are_kept_by_the_rules_of_the_box() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&crate::desk::config::DatabaseConfig::default(), dir.path()).await.unwrap();
        let keep = async |office: &str, fact: Fact, now| {
            let mut tx = db.write().await.unwrap();
            let outcome = tx.keep_fact(office, &fact, now).await.unwrap();
            tx.commit().await.unwrap();
            outcome
        };
        let red = json!({"channel": 3, "fetched_at": "2026-03-02T02:00:00Z"});
        let later = json!({"channel": 3, "fetched_at": "2026-03-02T03:00:00Z"});
        assert_eq!(keep("15BB", declaration(2, &red), 1).await, Outcome::Applied);
        assert_eq!(keep("15BB", declaration(2, &later), 2).await, Outcome::Duplicate, "only asked again");
        assert_eq!(keep("15BB", declaration(2, &red), 3).await, Outcome::Duplicate, "an older asking, late");
        assert_eq!(keep("15BB", declaration(2, &json!({"channel": 1})), 4).await, Outcome::Conflict);
        assert_eq!(keep("15BB", declaration(2, &json!({"channel": 1})), 5).await, Outcome::Duplicate, "kept once");
        assert_eq!(keep("15BB", declaration(1, &json!({"channel": 2})), 6).await, Outcome::Stale { have: 2 });
        assert_eq!(keep("20BB", declaration(1, &json!({})), 7).await, Outcome::Applied, "another office's word");
        let rows = db.facts_of("10000001234").await.unwrap();
        let said: Vec<_> = rows.iter().map(|r| (r.office.as_str(), r.version, r.state.as_str())).collect();
        assert_eq!(said, [("15BB", 2, "current"), ("20BB", 1, "current"), ("15BB", 1, "stale")]);
        let hour = 3_600_000;
        assert_eq!((rows[0].heard_ms, rows[0].again_ms), (1, 3));
        assert_eq!(rows[0].fetched_ms.unwrap() % (24 * hour), 3 * hour, "the newest asking");
        assert_eq!(keep("15BB", declaration(3, &json!({"channel": 2, "office": "20BB"})), 8).await, Outcome::Applied);
        assert_eq!(keep("15BB", declaration(2, &red), 9).await, Outcome::Duplicate, "superseded, and so it stays");
        let rows = db.facts_of("10000001234").await.unwrap();
        let said: Vec<_> = rows.iter().map(|r| (r.version, r.state.as_str(), r.owner.as_str())).collect();
        let wanted = [(3, "current", "20BB"), (1, "current", "20BB"), (2, "superseded", "15BB"), (1, "stale", "15BB")];
        assert_eq!(said, wanted);
    }

    #[tokio::test]
    async fn declarations_are_found_by_what_they_carry_and_only_by_whose_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&crate::desk::config::DatabaseConfig::default(), dir.path()).await.unwrap();
        let carries = json!({"containers": ["CSQU3054383"], "plates": ["29Đ-123.45"], "seals": ["VN 77"]});
        let mut tx = db.write().await.unwrap();
        tx.keep_fact("15BB", &declaration(1, &carries), 1).await.unwrap();
        tx.commit().await.unwrap();
        let found = async |scope: &str, words: &str| {
            db.declarations_with(&Scope::parse(scope), words)
                .await
                .unwrap()
                .into_iter()
                .map(|f| f.key)
                .collect::<Vec<_>>()
        };
        for words in ["csqu305", "29D12345", "29đ12345", "VN77", "00001234"] {
            assert_eq!(found("15BB", words).await, ["10000001234"], "{words}");
        }
        assert!(found("15BB", "MSKU").await.is_empty() && found("20BB", "CSQU3054383").await.is_empty());
        assert_eq!(found("*", "CSQU3054383").await.len(), 1);
    }
}
