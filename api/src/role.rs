//! What each operation asks of its caller: the least role, the quota that it is taken from, and its name in the audit trail.
//! The one table of it; `admission` goes by it, the document and `api/ROLES.md` show it.

use lockstep_shared::quota::Budget;
use lockstep_shared::role::Role;

/// What an operation asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The operation's `operationId`.
    pub(crate) operation: &'static str,
    /// Who may do less than this may not call it.
    pub(crate) least: Role,
    pub(crate) budget: Budget,
    /// What the audit trail calls it, where it changes something: the name of its own line, so that a refusal stands beside
    /// what was accepted.
    pub(crate) action: Option<&'static str>,
}

const fn read(operation: &'static str, least: Role) -> Rule {
    Rule {
        operation,
        least,
        budget: Budget::Reads,
        action: None,
    }
}

const fn command(operation: &'static str, least: Role, action: &'static str) -> Rule {
    Rule {
        operation,
        least,
        budget: Budget::Commands,
        action: Some(action),
    }
}

/// Puts records.
const fn records(operation: &'static str) -> Rule {
    Rule {
        operation,
        least: Role::Operator,
        budget: Budget::Records,
        action: Some("record.put"),
    }
}

/// Every operation of the document, in the order of its addresses.
pub(crate) const RULES: &[Rule] = &[
    read("listActivities", Role::Operator),
    // Of a request that names no action. One that does has its operation's rule.
    command(ORCHESTRATE, Role::Viewer, "sync.orchestrated"),
    read("listApiKeys", Role::Admin),
    command("createApiKey", Role::Admin, "api_key.created"),
    read("getApiKey", Role::Admin),
    command("revokeApiKey", Role::Admin, "api_key.revoked"),
    read("listConnections", Role::Viewer),
    command("createConnection", Role::Admin, "connection.created"),
    read("getConnection", Role::Viewer),
    command("deleteConnection", Role::Admin, "connection.deleted"),
    command("checkConnection", Role::Operator, "connection.check_requested"),
    read("getConnectionOwnership", Role::Viewer),
    command(
        "putConnectionOwnership",
        Role::Admin,
        "connection.ownership_changed",
    ),
    read("getConnectionSettings", Role::Viewer),
    command(
        "putConnectionSettings",
        Role::Admin,
        "connection.settings_changed",
    ),
    read("getOrganisation", Role::Viewer),
    command("changeOrganisation", Role::Admin, "organisation.changed"),
    command("createOrganisation", Role::Platform, "organisation.created"),
    read("listCustomers", Role::Viewer),
    records("putCustomers"),
    records("putCustomersLines"),
    read("getCustomer", Role::Viewer),
    records("putCustomer"),
    read("listInventoryLevels", Role::Viewer),
    records("putInventoryLevels"),
    records("putInventoryLevelsLines"),
    read("getInventoryLevel", Role::Viewer),
    records("putInventoryLevel"),
    read("listOrders", Role::Viewer),
    records("putOrders"),
    records("putOrdersLines"),
    read("getOrder", Role::Viewer),
    records("putOrder"),
    read("listPayments", Role::Viewer),
    records("putPayments"),
    records("putPaymentsLines"),
    read("getPayment", Role::Viewer),
    records("putPayment"),
    read("listProducts", Role::Viewer),
    records("putProducts"),
    records("putProductsLines"),
    read("getProduct", Role::Viewer),
    records("putProduct"),
    read("listSyncs", Role::Viewer),
    command("startSync", Role::Operator, "sync.requested"),
    read("getSync", Role::Viewer),
    read("listPreviews", Role::Viewer),
    command("pauseSync", Role::Operator, "sync.pause_requested"),
    command("resumeSync", Role::Operator, "sync.resume_requested"),
    command("cancelSync", Role::Operator, "sync.cancel_requested"),
    read("watchSync", Role::Viewer),
    read("listConflicts", Role::Viewer),
    command("resolveConflicts", Role::Operator, "conflict.answered"),
    read("getConflictStatistics", Role::Viewer),
    read("getConflict", Role::Viewer),
    command("resolveConflict", Role::Operator, "conflict.answered"),
    read("listSchedules", Role::Viewer),
    command("createSchedule", Role::Operator, "schedule.created"),
    read("getSchedule", Role::Viewer),
    command("putSchedule", Role::Operator, "schedule.changed"),
    command("deleteSchedule", Role::Operator, "schedule.deleted"),
    command("retrySync", Role::Operator, "sync.requested"),
    read("getRecordHistory", Role::Viewer),
    command(
        "putConnectionCredentials",
        Role::Admin,
        "connection.credentials_changed",
    ),
    read("getConnectionWebhooks", Role::Viewer),
    command(
        "putConnectionWebhooks",
        Role::Admin,
        "connection.webhooks_changed",
    ),
    read("listNotificationEndpoints", Role::Admin),
    command(
        "createNotificationEndpoint",
        Role::Admin,
        "notification_endpoint.created",
    ),
    read("getNotificationEndpoint", Role::Admin),
    command(
        "putNotificationEndpoint",
        Role::Admin,
        "notification_endpoint.changed",
    ),
    command(
        "deleteNotificationEndpoint",
        Role::Admin,
        "notification_endpoint.deleted",
    ),
    read("listNotifications", Role::Admin),
    command("retryNotification", Role::Admin, "notification.retried"),
];

/// Finds what an operation asks for. Without a rule, nobody may call it.
pub(crate) fn rule(operation: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.operation == operation)
}

/// The operation that does what others do.
pub(crate) const ORCHESTRATE: &str = "orchestrateSync";

/// Its actions, each with the operation that it stands for.
const ACTIONS: [(&str, &str); 7] = [
    ("start", "startSync"),
    ("status", "getSync"),
    ("pause", "pauseSync"),
    ("resume", "resumeSync"),
    ("cancel", "cancelSync"),
    ("conflicts", "listConflicts"),
    ("resolve-conflict", "resolveConflict"),
];

/// Returns the rule that holds for an action of [`ORCHESTRATE`]: that of the operation that it stands for.
pub(crate) fn of_named_action(action: &str) -> Option<&'static Rule> {
    let (_, operation) = ACTIONS.iter().find(|(name, _)| *name == action)?;
    rule(operation)
}

/// Returns the rule that holds for a request with this query: an operation's own, or its action's.
pub(crate) fn of_action(rule: &'static Rule, query: Option<&str>) -> &'static Rule {
    if rule.operation != ORCHESTRATE {
        return rule;
    }
    // A parameter that is given twice is refused before.
    let action = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "action")
        .and_then(|(_, action)| of_named_action(&action));
    action.unwrap_or(rule)
}

/// Returns `api/ROLES.md`: who may call what.
pub fn table() -> String {
    use std::fmt::Write as _;

    let mut text = "# Who may do what\n\nMade by `cargo run -q -p lockstep-api -- roles > api/ROLES.md` from the one table \
        that the API goes by (`api/src/role.rs`).\nA role may do all that those before it may. The quota is the one that a \
        request is taken from; what changes\nsomething stands in the audit trail under its action, and so does its refusal.\n\n\
        | operation | viewer | operator | admin | platform | quota | action |\n\
        | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for rule in RULES {
        let may = |role| if role >= rule.least { "yes" } else { "–" };
        let [viewer, operator, admin, platform] = Role::ALL.map(may);
        let action = rule
            .action
            .map_or_else(String::new, |action| format!(" `{action}` "));
        let _ = writeln!(
            text,
            "| `{}` | {viewer} | {operator} | {admin} | {platform} | {} |{action}|",
            rule.operation,
            rule.budget.name()
        );
    }
    text.push_str("\nEach action of `orchestrateSync` has the row of the operation that it stands for:\n\n");
    for (action, operation) in ACTIONS {
        let _ = writeln!(text, "- `{action}`: `{operation}`");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::document;

    #[test]
    fn every_operation_of_the_document_has_one_rule() {
        let document: serde_json::Value = serde_json::from_str(&document::text()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let operations: BTreeSet<&str> = paths
            .values()
            .flat_map(|methods| methods.as_object().unwrap().values())
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        let rules: BTreeSet<&str> = RULES.iter().map(|rule| rule.operation).collect();

        assert_eq!(operations, rules, "R42: add what is missing to `RULES`");
        assert_eq!(rules.len(), RULES.len(), "R42: a rule is there twice");
    }

    #[test]
    fn what_only_reads_is_taken_from_the_quota_of_reads() {
        let document: serde_json::Value = serde_json::from_str(&document::text()).unwrap();
        for methods in document["paths"].as_object().unwrap().values() {
            for (method, operation) in methods.as_object().unwrap() {
                let rule = rule(operation["operationId"].as_str().unwrap()).unwrap();
                assert_eq!(method == "get", rule.budget == Budget::Reads, "R44: {rule:?}");
                assert_eq!(method == "get", rule.action.is_none(), "R71: {rule:?}");
            }
        }
    }

    #[test]
    fn an_action_has_the_rule_of_the_operation_that_it_stands_for() {
        let orchestrate = rule(ORCHESTRATE).unwrap();
        let operation = |query| of_action(orchestrate, query).operation;

        for (action, stands_for) in ACTIONS {
            let query = format!("syncId=7&action={action}");
            assert_eq!(of_action(orchestrate, Some(&query)).operation, stands_for, "R42");
        }
        assert_eq!(operation(Some("%61ction=st%61rt")), "startSync", "R42");
        for none in [
            None,
            Some(""),
            Some("action=START"),
            Some("action"),
            Some("Action=start"),
        ] {
            assert_eq!(operation(none), ORCHESTRATE, "R42: {none:?}");
        }
        let other = rule("getSync").unwrap();
        assert_eq!(of_action(other, Some("action=start")), other, "R42");
    }

    #[test]
    fn the_committed_table_is_the_one_in_use() {
        assert!(
            include_str!("../ROLES.md") == table(),
            "R42: the table of roles changed: cargo run -q -p lockstep-api -- roles > api/ROLES.md"
        );
    }
}
