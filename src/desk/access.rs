//! Who may do what: roles, permissions, and the one table of routes with the permission each needs. What is not in the
//! table cannot be reached. Whose rows somebody sees is the scope of his account.

use super::db::Scope;

/// Roles of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Duty officer at the screens.
    Officer,
    /// Answers for the shift.
    ShiftLeader,
    /// Oversees several units.
    Supervisor,
    /// Officer of the office that checks.
    Field,
    /// Reads everything, changes nothing.
    Auditor,
    /// Cares for boxes and cameras.
    Technician,
    /// Cares for accounts.
    Administrator,
}

impl Role {
    pub(crate) const ALL: [Self; 7] = [
        Self::Officer,
        Self::ShiftLeader,
        Self::Supervisor,
        Self::Field,
        Self::Auditor,
        Self::Technician,
        Self::Administrator,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::ShiftLeader => "shift_leader",
            Self::Supervisor => "supervisor",
            Self::Field => "field",
            Self::Auditor => "auditor",
            Self::Technician => "technician",
            Self::Administrator => "administrator",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }

    /// Whether the role holds the permission.
    pub(crate) fn may(self, need: Need) -> bool {
        use Need::{
            Accounts, ActAlerts, Audit, Devices, DraftTips, Footage, IssueTips, LeadShifts, Nobody, Reports, Self_,
            Shifts, ViewAlerts, ViewTips, WorkTips,
        };
        match need {
            Nobody | Self_ => true,
            ViewAlerts | ViewTips => self != Self::Technician && self != Self::Administrator,
            ActAlerts | DraftTips => matches!(self, Self::Officer | Self::ShiftLeader | Self::Supervisor),
            // Clips are not masked: those who watch and those who watch over them.
            Footage | Shifts => matches!(self, Self::Officer | Self::ShiftLeader | Self::Supervisor | Self::Auditor),
            IssueTips | LeadShifts => matches!(self, Self::ShiftLeader | Self::Supervisor),
            WorkTips => matches!(self, Self::Field | Self::ShiftLeader | Self::Supervisor),
            Reports => matches!(self, Self::Officer | Self::ShiftLeader | Self::Supervisor | Self::Auditor),
            Devices => self != Self::Field,
            Audit => matches!(self, Self::Auditor),
            Accounts => matches!(self, Self::Administrator),
        }
    }
}

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Not even to be signed in.
    Nobody,
    /// To be signed in.
    Self_,
    ViewAlerts,
    ActAlerts,
    ViewTips,
    /// Write and change drafts.
    DraftTips,
    /// Issue, settle, return, reopen, cancel, merge.
    IssueTips,
    /// Receive, check, report; samples, money and files.
    WorkTips,
    /// See video as the camera sent it.
    Footage,
    /// See rosters and hand-overs.
    Shifts,
    /// Write rosters, hand over, take over.
    LeadShifts,
    Reports,
    Devices,
    Audit,
    Accounts,
}

/// Every route: method, path, what it needs.
pub(crate) const ROUTES: &[(&str, &str, Need)] = &[
    ("GET", "/asset/{name}", Need::Nobody),
    ("GET", "/login", Need::Nobody),
    ("POST", "/login", Need::Nobody),
    ("POST", "/language", Need::Nobody),
    ("GET", "/livez", Need::Nobody),
    ("GET", "/readyz", Need::Nobody),
    ("GET", "/", Need::Self_),
    ("POST", "/logout", Need::Self_),
    ("GET", "/password", Need::Self_),
    ("POST", "/password", Need::Self_),
    ("GET", "/alerts", Need::ViewAlerts),
    ("GET", "/alerts/stream", Need::ViewAlerts),
    ("GET", "/alerts/{id}", Need::ViewAlerts),
    ("GET", "/alerts/{id}/footage", Need::Footage),
    ("GET", "/alerts/{id}/clip", Need::Footage),
    ("POST", "/alerts/{id}/save", Need::Footage),
    ("POST", "/alerts/{id}/{step}", Need::ActAlerts),
    ("GET", "/footage", Need::Footage),
    ("GET", "/footage/{office}/{box}/{camera}", Need::Footage),
    ("GET", "/footage/{office}/{box}/{camera}/clip", Need::Footage),
    ("GET", "/footage/{office}/{box}/{camera}/sheet", Need::Footage),
    ("GET", "/footage/{office}/{box}/{camera}/now", Need::Footage),
    ("POST", "/footage/{office}/{box}/{camera}/save", Need::Footage),
    ("POST", "/footage/{office}/{box}/{camera}/{step}", Need::ActAlerts),
    ("GET", "/pictures/{event}/{sha256}", Need::ViewAlerts),
    ("GET", "/declarations", Need::ViewAlerts),
    ("GET", "/declarations/{key}", Need::ViewAlerts),
    ("GET", "/tips", Need::ViewTips),
    ("GET", "/tips/stream", Need::WorkTips),
    ("GET", "/tips/new", Need::DraftTips),
    ("POST", "/tips/new", Need::DraftTips),
    ("GET", "/tips/{id}", Need::ViewTips),
    ("GET", "/tips/{id}/holds/{office}/{box}", Need::Footage),
    ("POST", "/tips/{id}/edit", Need::DraftTips),
    ("POST", "/tips/{id}/files", Need::WorkTips),
    ("GET", "/tips/{id}/files/{file}", Need::ViewTips),
    ("POST", "/tips/{id}/files/{file}/withdraw", Need::WorkTips),
    ("POST", "/tips/{id}/lead/{step}", Need::IssueTips),
    ("POST", "/tips/{id}/work/{step}", Need::WorkTips),
    ("GET", "/yard", Need::ViewAlerts),
    ("GET", "/shifts", Need::Shifts),
    ("POST", "/shifts", Need::LeadShifts),
    ("GET", "/shifts/{id}", Need::Shifts),
    ("POST", "/shifts/{id}/{step}", Need::LeadShifts),
    ("GET", "/reports", Need::Reports),
    ("GET", "/reports/tips", Need::Reports),
    ("GET", "/reports/alerts", Need::Reports),
    ("GET", "/reports/cameras", Need::Reports),
    ("POST", "/reports/csv", Need::Reports),
    ("POST", "/reports/xlsx", Need::Reports),
    ("POST", "/reports/print", Need::Reports),
    ("GET", "/reports/printed/{id}", Need::Reports),
    ("GET", "/devices", Need::Devices),
    ("GET", "/audit", Need::Audit),
    ("GET", "/accounts", Need::Accounts),
    ("POST", "/accounts", Need::Accounts),
    ("POST", "/accounts/{name}", Need::Accounts),
    ("GET", "/openapi.json", Need::Self_),
    ("GET", "/api/alerts", Need::ViewAlerts),
    ("GET", "/api/alerts/{id}", Need::ViewAlerts),
    ("GET", "/api/tips", Need::ViewTips),
    ("GET", "/api/bays", Need::ViewAlerts),
    ("GET", "/api/boxes", Need::Devices),
];

/// What a route needs; `None` = there is no such route.
pub(crate) fn need_of(method: &str, path: &str) -> Option<Need> {
    ROUTES.iter().find(|(m, p, _)| *m == method && *p == path).map(|(_, _, need)| *need)
}

/// Who is signed in.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub name: String,
    pub display: String,
    pub role: Role,
    pub scope: Scope,
    /// Goes with every form.
    pub csrf: String,
    /// Digest of his session's token.
    pub session: String,
    /// May do nothing but choose a password.
    pub must_change: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Somebody who sees all offices.
    pub(crate) fn user() -> User {
        User {
            name: "an".into(),
            display: "An".into(),
            role: Role::Officer,
            scope: Scope::all(),
            csrf: String::new(),
            session: String::new(),
            must_change: false,
        }
    }

    #[test]
    fn roles_are_read_back_and_hold_what_their_work_needs() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert!(Role::Officer.may(Need::DraftTips) && !Role::Officer.may(Need::IssueTips));
        assert!(Role::Field.may(Need::WorkTips) && !Role::Field.may(Need::ActAlerts));
        let changing =
            [Need::ActAlerts, Need::DraftTips, Need::IssueTips, Need::WorkTips, Need::LeadShifts, Need::Accounts];
        assert!(changing.into_iter().all(|n| !Role::Auditor.may(n)), "an auditor changes nothing");
        assert!(!Role::Field.may(Need::Footage) && Role::Auditor.may(Need::Footage), "clips are not masked");
        assert!(!Role::Administrator.may(Need::ViewAlerts), "who makes accounts does not see goods");
        assert_eq!(need_of("POST", "/alerts/{id}/{step}"), Some(Need::ActAlerts));
        assert_eq!(need_of("DELETE", "/alerts"), None);
    }
}
