//! Accounts and sessions as rows. Passwords come as finished hashes, tokens as digests: neither can be read out of the
//! database. How they are made is in `web/login.rs`.

use super::{Db, DbError, Tx};

/// An account.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Account {
    pub name: String,
    pub display: String,
    /// Argon2id, PHC string.
    pub password: String,
    pub must_change: i64,
    pub role: String,
    pub offices: String,
    pub disabled: i64,
}

/// A session with its account.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Session {
    pub account: String,
    pub display: String,
    pub role: String,
    pub offices: String,
    pub must_change: i64,
    pub csrf: String,
    pub created_ms: i64,
    pub seen_ms: i64,
}

const ACCOUNT: &str =
    "SELECT name, display, password, must_change, role, offices, disabled FROM account WHERE name = $1";

impl Db {
    pub(crate) async fn account(&self, name: &str) -> Result<Option<Account>, DbError> {
        Ok(sqlx::query_as(ACCOUNT).bind(name).fetch_optional(&self.pool).await?)
    }

    pub(crate) async fn accounts(&self) -> Result<Vec<Account>, DbError> {
        let select = "SELECT name, display, password, must_change, role, offices, disabled FROM account ORDER BY name";
        Ok(sqlx::query_as(select).fetch_all(&self.pool).await?)
    }

    /// The session of a token's digest; not that of a disabled account.
    pub(crate) async fn session(&self, token_sha256: &str) -> Result<Option<Session>, DbError> {
        let select = "SELECT s.account, a.display, a.role, a.offices, a.must_change, s.csrf, s.created_ms, s.seen_ms
                      FROM session s JOIN account a ON a.name = s.account
                      WHERE s.token_sha256 = $1 AND a.disabled = 0";
        Ok(sqlx::query_as(select).bind(token_sha256).fetch_optional(&self.pool).await?)
    }

    pub(crate) async fn touch_session(&self, token_sha256: &str, now_ms: i64) -> Result<(), DbError> {
        let mut tx = self.write().await?;
        let update = "UPDATE session SET seen_ms = $2 WHERE token_sha256 = $1";
        sqlx::query(update).bind(token_sha256).bind(now_ms).execute(&mut *tx).await?;
        tx.commit().await
    }
}

impl Tx {
    pub(crate) async fn account(&mut self, name: &str) -> Result<Option<Account>, DbError> {
        Ok(sqlx::query_as(ACCOUNT).bind(name).fetch_optional(&mut **self).await?)
    }

    /// Adds an account; `false` when the name is taken.
    pub(crate) async fn add_account(&mut self, a: &Account, now_ms: i64) -> Result<bool, DbError> {
        let insert = "INSERT INTO account (name, display, password, must_change, role, offices, disabled, created_ms)
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert).bind(&a.name).bind(&a.display).bind(&a.password).bind(a.must_change);
        let query = query.bind(&a.role).bind(&a.offices).bind(a.disabled).bind(now_ms);
        Ok(query.execute(&mut **self).await?.rows_affected() == 1)
    }

    /// Sets name for people, role, offices and whether it is disabled.
    pub(crate) async fn change_account(&mut self, a: &Account) -> Result<(), DbError> {
        let update = "UPDATE account SET display = $2, role = $3, offices = $4, disabled = $5 WHERE name = $1";
        let query = sqlx::query(update).bind(&a.name).bind(&a.display).bind(&a.role).bind(&a.offices);
        query.bind(a.disabled).execute(&mut **self).await?;
        Ok(())
    }

    /// Sets a password hash and ends all sessions of the account but `except`.
    pub(crate) async fn set_password(
        &mut self,
        name: &str,
        hash: &str,
        must_change: bool,
        except: &str,
    ) -> Result<(), DbError> {
        let update = "UPDATE account SET password = $2, must_change = $3 WHERE name = $1";
        sqlx::query(update).bind(name).bind(hash).bind(i64::from(must_change)).execute(&mut **self).await?;
        self.end_sessions(name, except).await
    }

    pub(crate) async fn end_sessions(&mut self, name: &str, except: &str) -> Result<(), DbError> {
        let delete = "DELETE FROM session WHERE account = $1 AND token_sha256 <> $2";
        sqlx::query(delete).bind(name).bind(except).execute(&mut **self).await?;
        Ok(())
    }

    /// Forgets sessions that began before `began` or were not used since `used`: they let nobody in any more.
    pub(crate) async fn forget_sessions(&mut self, began: i64, used: i64) -> Result<(), DbError> {
        let delete = "DELETE FROM session WHERE created_ms < $1 OR seen_ms < $2";
        sqlx::query(delete).bind(began).bind(used).execute(&mut **self).await?;
        Ok(())
    }

    pub(crate) async fn add_session(&mut self, token: &str, name: &str, csrf: &str, now: i64) -> Result<(), DbError> {
        let insert =
            "INSERT INTO session (token_sha256, account, csrf, created_ms, seen_ms) VALUES ($1, $2, $3, $4, $4)";
        sqlx::query(insert).bind(token).bind(name).bind(csrf).bind(now).execute(&mut **self).await?;
        Ok(())
    }

    pub(crate) async fn end_session(&mut self, token_sha256: &str) -> Result<(), DbError> {
        sqlx::query("DELETE FROM session WHERE token_sha256 = $1").bind(token_sha256).execute(&mut **self).await?;
        Ok(())
    }
}
