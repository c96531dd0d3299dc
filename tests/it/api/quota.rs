//! How often an organisation may ask (R44).

use lockstep_api::config::{Access, Config};
use lockstep_shared::id::OrgId;
use lockstep_shared::quota::Quotas;
use lockstep_shared::role::Role;
use lockstep_tests::api::{Answer, Api, Client};
use lockstep_tests::stack::Stack;
use serde_json::json;

use super::{id, organisation, product};

/// An API that counts. Reads have a quota that a slow machine can use up, too.
fn counting(stack: &Stack, quotas: Quotas) -> Config {
    let mut config = Api::config(stack);
    config.access = Access {
        quotas: Some(quotas),
        ..Access::default()
    };
    config
}

/// A command that is refused for what it says, so that it costs nothing but its place in the quota.
async fn command(client: &Client) -> Answer {
    client.post("/api/v1/syncs", &json!({ "systems": [] })).await
}

fn number(text: &str, name: &str) -> i64 {
    let (_, rest) = text
        .split_once(&format!(";{name}="))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split(';').next().unwrap().parse().unwrap()
}

/// R44: ten commands a minute, over all processes of the API; then a 429 that says when to come again, and it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_has_ten_commands_a_minute_over_all_processes() {
    let stack = Stack::new().await;
    let config = || counting(&stack, Quotas::default());
    let processes = [
        Api::start_as(stack.org, config()),
        Api::start_as(stack.org, config()),
    ];
    // Time stands still for the quota: how long the requests take on a slow machine must not matter.
    freeze(&stack).await;

    for sent in 0..10 {
        let answer = command(&processes[sent % 2].client).await;
        assert_eq!(answer.header("ratelimit-policy"), "\"commands\";q=10;w=60", "R44");
        let limit = answer.header("ratelimit").to_owned();
        assert!(limit.starts_with("\"commands\";r="), "R44: {limit}");
        assert_eq!(
            number(&limit, "r"),
            9 - i64::try_from(sent).unwrap(),
            "R44: {limit}"
        );
        assert_eq!(
            number(&limit, "t"),
            6 * (1 + i64::try_from(sent).unwrap()),
            "R44: {limit}"
        );
        answer.problem(422, "invalid");
    }
    for api in &processes {
        let answer = command(&api.client).await;
        assert_eq!(answer.header("retry-after"), "6", "R44");
        assert_eq!(answer.header("ratelimit"), "\"commands\";r=0;t=6", "R44");
        answer.problem(429, "too-many-requests");
    }
    // Another caller of the same organisation has the same quota; a read has its own.
    let other = processes[0].client_as(stack.org, Role::Operator);
    command(&other).await.problem(429, "too-many-requests");
    let read = processes[0].client.get("/api/v1/syncs").await;
    assert_eq!(read.header("ratelimit-policy"), "\"reads\";q=600;w=60", "R44");
    read.ok(200);
    let put = format!("/api/v1/records/products/{}", id());
    let put = processes[0].client.put(&put, &product("SKU-1")).await;
    assert_eq!(put.header("ratelimit-policy"), "\"records\";q=600;w=60", "R44");
    put.ok(201);
    // Another organisation is not held up.
    let neighbour = processes[0].client_of(organisation(&stack, OrgId::random()).await);
    command(&neighbour).await.problem(422, "invalid");

    stack.shift_clock("6 seconds").await;
    command(&processes[1].client).await.problem(422, "invalid");
    command(&processes[0].client)
        .await
        .problem(429, "too-many-requests");
    stack.shift_clock("60 seconds").await;
    let answer = command(&processes[0].client).await;
    assert_eq!(
        number(answer.header("ratelimit"), "r"),
        9,
        "R44: it is whole again"
    );
}

/// Has the database tell the same time until its clock is shifted.
async fn freeze(stack: &Stack) {
    let statement =
        "create or replace function lockstep_now() returns timestamptz language sql stable parallel safe
        as $$ select '2026-01-01 00:00:00+00'::timestamptz + (select shift from clock) $$";
    sqlx::raw_sql(statement)
        .execute(&stack.database.superuser)
        .await
        .unwrap();
}

/// R44: many at once never get more than the quota.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_at_the_same_moment_do_not_get_more_than_the_quota() {
    let stack = Stack::new().await;
    let quotas = Quotas {
        commands: 4,
        ..Quotas::default()
    };
    let config = || counting(&stack, quotas);
    let processes = [
        Api::start_as(stack.org, config()),
        Api::start_as(stack.org, config()),
    ];
    freeze(&stack).await;

    // Fewer than the processes have connections: none has to wait for one.
    let many = (0..12).map(|number| command(&processes[number % 2].client));
    let answers = futures::future::join_all(many).await;

    let allowed = answers.iter().filter(|answer| answer.status == 422).count();
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert_eq!((allowed, refused), (4, 8), "R44");
}

/// R44: an organisation may have a quota of its own, from 1 to 50 commands a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_may_have_a_quota_of_its_own() {
    let stack = Stack::new().await;
    let api = Api::start_as(stack.org, counting(&stack, Quotas::default()));
    freeze(&stack).await;
    let set = async |commands: i32| {
        sqlx::query("update organisation set commands_per_minute = $2 where org_id = $1")
            .bind(stack.org.0)
            .bind(commands)
            .execute(&stack.database.superuser)
            .await
    };

    for (commands, policy) in [(1, "\"commands\";q=1;w=60"), (50, "\"commands\";q=50;w=60")] {
        set(commands).await.unwrap();
        stack.shift_clock("10 minutes").await;
        for _ in 0..commands {
            let answer = command(&api.client).await;
            assert_eq!(answer.header("ratelimit-policy"), policy, "R44");
            answer.problem(422, "invalid");
        }
        command(&api.client).await.problem(429, "too-many-requests");
        let shown = api.client.get("/api/v1/organisation").await.ok(200);
        assert_eq!(shown["commandsPerMinute"], commands, "R44");
    }
    for commands in [0, 51] {
        let error = set(commands).await.unwrap_err().to_string();
        assert!(
            error.contains("organisation_commands_per_minute_check"),
            "R44: {error}"
        );
    }
}

/// R44: who is not known takes nothing from anyone's quota, and who may not takes from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_are_known_take_from_the_quota() {
    let stack = Stack::new().await;
    let quotas = Quotas {
        commands: 2,
        ..Quotas::default()
    };
    let api = Api::start_as(stack.org, counting(&stack, quotas));
    freeze(&stack).await;
    let viewer = api.client_as(stack.org, Role::Viewer);

    for _ in 0..5 {
        let answer = command(&api.stranger).await;
        assert_eq!(answer.header("ratelimit"), "", "R44");
        answer.problem(401, "unauthenticated");
        let unknown = api.client_of(OrgId::random());
        command(&unknown).await.problem(401, "unauthenticated");
    }
    for _ in 0..2 {
        command(&viewer).await.problem(403, "forbidden");
    }

    command(&viewer).await.problem(429, "too-many-requests");
    command(&api.client).await.problem(429, "too-many-requests");
}
