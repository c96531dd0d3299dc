//! What each role may do, operation by operation (R42).

use std::collections::BTreeMap;

use lockstep_shared::role::Role;
use lockstep_tests::api::Api;
use lockstep_tests::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};

use super::{id, rows};

/// The operations of the API's document: identifier, method, address with identifiers made up.
fn operations() -> Vec<(String, Method, String)> {
    let document: Value = serde_json::from_str(include_str!("../../../api/openapi.json")).unwrap();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let segments = path.split('/').map(|segment| {
            if segment.starts_with('{') {
                id()
            } else {
                segment.to_owned()
            }
        });
        let path = segments.collect::<Vec<_>>().join("/");
        for (method, operation) in methods.as_object().unwrap() {
            let operation = operation["operationId"].as_str().unwrap().to_owned();
            operations.push((operation, method.to_uppercase().parse().unwrap(), path.clone()));
        }
    }
    operations
}

/// The rows of `api/ROLES.md`: the columns of the roles, by operation.
fn table() -> BTreeMap<String, Vec<bool>> {
    let lines = include_str!("../../../api/ROLES.md").lines();
    lines
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let roles = cells[1..5].iter().map(|cell| match *cell {
                "yes" => true,
                "–" => false,
                other => panic!("{other}"),
            });
            (cells[0].trim_matches('`').to_owned(), roles.collect())
        })
        .collect()
}

/// R42: the documented table is what happens, row by row and column by column; who is refused changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_what_the_table_says_and_nothing_else() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let table = table();
    let operations = operations();
    let before = rows(&stack.database).await;
    // Those who may not, first: then that nothing changed says something.
    for is_allowed in [false, true] {
        for (operation, method, path) in &operations {
            let row = table
                .get(operation)
                .unwrap_or_else(|| panic!("{operation} is not in api/ROLES.md"));
            for (role, may) in Role::ALL.into_iter().zip(row) {
                if *may != is_allowed {
                    continue;
                }
                let client = api.client_as(stack.org, role);
                let mut request = client.request(method.clone(), path);
                if *method != Method::GET && *method != Method::DELETE {
                    // Wrong for every operation, so that those who may change nothing either.
                    request = request.json(&json!({ "nothing": "of this name" }));
                }
                let answer = client.send(request).await;
                if *may {
                    assert!(
                        ![401, 403, 500].contains(&answer.status),
                        "R42: {operation} as {role:?}: {}",
                        answer.text
                    );
                } else {
                    answer.problem(403, "forbidden");
                }
            }
        }
        if !is_allowed {
            assert_eq!(rows(&stack.database).await, before, "R42");
        }
    }
    assert_eq!(table.len(), operations.len(), "R42");
}

/// R42: a role is asked for before anything of the request is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_learns_nothing_of_what_would_be_wrong() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let viewer = api.client_as(stack.org, Role::Viewer);

    for body in ["{", "[]", "{\"name\": 7}"] {
        let request = viewer.request(Method::POST, "/api/v1/connections").body(body);
        viewer.send(request).await.problem(403, "forbidden");
    }
    let nothing = viewer.request(Method::GET, "/api/v1/api-keys/not-an-identifier");
    viewer.send(nothing).await.problem(403, "forbidden");
}
