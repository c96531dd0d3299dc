//! Schedules: made, read, changed and deleted through the API.

use chrono::{DateTime, Duration, Utc};
use lockstep_shared::id::OrgId;
use lockstep_tests::api::Api;
use lockstep_tests::stack::Stack;
use serde_json::{Value, json};

use super::{id, organisation, rows};

const PATH: &str = "/api/v1/schedules";

fn nightly(name: &str) -> Value {
    json!({ "name": name, "cron": "30 2 * * *", "timeZone": "Europe/Berlin" })
}

fn path(schedule: &Value) -> String {
    format!("{PATH}/{}", schedule["scheduleId"].as_str().unwrap())
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_comes_back_as_it_was_put_with_its_next_runs() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let whole = json!({
        "name": "Nightly", "cron": "*/15 9-17 * * MON-FRI", "timeZone": "America/New_York", "enabled": true,
        "systems": ["woocommerce", "odoo"], "connectionIds": [stack.store, stack.erp],
        "entityTypes": ["products", "orders"],
        "syncConfig": {
            "batchSize": 20, "batchDelayMs": 0, "maxRetries": 2, "dryRun": false, "fullScan": true,
        },
    });

    let answer = api.client.post(PATH, &whole).await;

    let location = answer.header("location").to_owned();
    let made = answer.ok(201);
    assert_eq!(location, path(&made));
    for (name, value) in whole.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    let upcoming: Vec<_> = made["upcoming"].as_array().unwrap().iter().map(time).collect();
    assert_eq!(upcoming.len(), 5);
    assert_eq!(time(&made["nextRunAt"]), upcoming[0]);
    assert!(
        upcoming
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= Duration::minutes(15))
    );
    assert_eq!(api.client.get(&location).await.ok(200), made);
    assert_eq!((&made["version"], &made["createdBy"]), (&1.into(), &"ada".into()));

    let defaults = api
        .client
        .post(PATH, &json!({ "name": "Usual", "cron": "0 0 * * *" }))
        .await
        .ok(201);
    assert_eq!(
        (&defaults["timeZone"], &defaults["enabled"]),
        (&"UTC".into(), &true.into())
    );
    assert_eq!(defaults["entityTypes"].as_array().unwrap().len(), 5);
    assert_eq!(defaults["syncConfig"]["batchSize"], 50);
    assert_eq!(defaults["connectionIds"], Value::Null);
}

/// R71: each change stands in the trail with who made it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_changed_disabled_and_deleted() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let made = api.client.post(PATH, &nightly("Nightly")).await.ok(201);
    let other = api.client.post(PATH, &nightly("Other")).await.ok(201);
    let path = path(&made);

    let mut off = nightly("Weekly");
    off["cron"] = "0 3 * * SUN".into();
    off["enabled"] = false.into();
    off["version"] = 1.into();
    let put = api.client.put(&path, &off).await.ok(200);

    assert_eq!((&put["name"], &put["version"]), (&"Weekly".into(), &2.into()));
    assert_eq!(
        (&put["enabled"], &put["nextRunAt"]),
        (&false.into(), &Value::Null)
    );
    assert_eq!(
        put["upcoming"].as_array().unwrap().len(),
        5,
        "it is shown when it would be due"
    );
    let late = api.client.put(&path, &off).await.problem(409, "changed");
    assert!(
        late["detail"].as_str().unwrap().contains("version is 2"),
        "{late}"
    );
    api.client
        .put(&path, &nightly("Other"))
        .await
        .problem(409, "name-taken");
    api.client
        .post(PATH, &nightly("Other"))
        .await
        .problem(409, "name-taken");

    let request = api.client.request(reqwest::Method::DELETE, &path);
    assert_eq!(api.client.send(request).await.ok(200), put);
    let request = api.client.request(reqwest::Method::DELETE, &path);
    api.client.send(request).await.problem(404, "not-found");
    api.client.put(&path, &off).await.problem(404, "not-found");
    let left = api.client.get(PATH).await.ok(200);
    assert_eq!(left, json!({ "items": [other] }));
    let trail: Vec<(String, String)> = sqlx::query_as(
        "select action, actor from sync_activity_log where action like 'schedule.%' and outcome = 'done'
          order by created_at",
    )
    .fetch_all(&stack.database.superuser)
    .await
    .unwrap();
    let line = |action: &str| (format!("schedule.{action}"), "ada".to_owned());
    let expected = ["created", "created", "changed", "deleted"].map(line);
    assert_eq!(trail, expected, "R71");
}

/// R45: what is wrong is named, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_schedule_is_refused_by_name_and_changes_nothing() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let made = api.client.post(PATH, &nightly("Nightly")).await.ok(201);
    let before = rows(&stack.database).await;

    for (change, field) in [
        (json!({ "cron": "whenever" }), "cron"),
        (json!({ "cron": "*/10 * * * * *" }), "cron"),
        (json!({ "cron": "0 0 31 2 *" }), "cron"),
        (json!({ "cron": 5 }), "cron"),
        (json!({ "timeZone": "Mars/Olympus" }), "timeZone"),
        (json!({ "timeZone": null }), "timeZone"),
        (json!({ "name": "" }), "name"),
        (json!({ "entityTypes": ["invoices"] }), "entityTypes/0"),
        (json!({ "systems": [] }), "systems"),
        (json!({ "connectionIds": [id()] }), "connectionIds/0"),
        (
            json!({ "systems": ["odoo"], "connectionIds": [stack.erp, stack.store] }),
            "connectionIds/1",
        ),
        (json!({ "syncConfig": { "speed": 9 } }), "syncConfig/speed"),
        (json!({ "speed": 1 }), "speed"),
    ] {
        let mut body = nightly("Another");
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let problem = api.client.post(PATH, &body).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {body}: {problem}");
        let problem = api.client.put(&path(&made), &body).await.problem(422, "invalid");
        assert_eq!(problem["errors"][0]["field"], field, "R45: {body}: {problem}");
    }
    let often = json!({ "name": "Often", "cron": "* * * * * *" });
    let problem = api.client.post(PATH, &often).await.problem(422, "invalid");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("once a minute at most"),
        "{problem}"
    );

    assert_eq!(rows(&stack.database).await, before, "R45");
}

/// R43: nobody sees, changes or deletes another organisation's schedules, and a name is taken in one only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedules_of_another_organisation_are_not_there() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    let stranger = api.client_of(organisation(&stack, OrgId::random()).await);
    let made = api.client.post(PATH, &nightly("Nightly")).await.ok(201);
    let path = path(&made);

    stranger.get(&path).await.problem(404, "not-found");
    stranger
        .put(&path, &nightly("Mine"))
        .await
        .problem(404, "not-found");
    let request = stranger.request(reqwest::Method::DELETE, &path);
    stranger.send(request).await.problem(404, "not-found");
    assert_eq!(stranger.get(PATH).await.ok(200), json!({ "items": [] }), "R43");
    stranger.post(PATH, &nightly("Nightly")).await.ok(201);
    let mut named = nightly("Theirs");
    named["connectionIds"] = json!([stack.store]);
    let problem = stranger.post(PATH, &named).await.problem(422, "invalid");
    assert_eq!(problem["errors"][0]["field"], "connectionIds/0", "R43");
    let webhooks = format!("/api/v1/connections/{}/webhooks", stack.store);
    stranger.get(&webhooks).await.problem(404, "not-found");
    let wish = json!({ "enabled": true });
    stranger.put(&webhooks, &wish).await.problem(404, "not-found");

    assert_eq!(api.client.get(&path).await.ok(200), made, "R43");
}

/// R47: the list goes on by a cursor, and an organisation may have a hundred.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_are_listed_in_pages_and_limited() {
    let stack = Stack::new().await;
    let api = Api::start(&stack);
    for number in 0..5 {
        let name = format!("Schedule {number}");
        api.client.post(PATH, &nightly(&name)).await.ok(201);
    }

    let mut names = Vec::new();
    let mut next = format!("{PATH}?limit=2");
    loop {
        let page = api.client.get(&next).await.ok(200);
        let items = page["items"].as_array().unwrap();
        assert!((1..=2).contains(&items.len()), "R47");
        names.extend(items.iter().map(|one| one["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        next = format!("{PATH}?limit=2&cursor={cursor}");
    }

    let expected: Vec<String> = (0..5).map(|number| format!("Schedule {number}")).collect();
    assert_eq!(names, expected, "R47");
    sqlx::query(
        "insert into schedule (org_id, schedule_id, name, cron, time_zone, entity_types, is_enabled, created_by)
         select $1, gen_random_uuid(), 'More ' || n, '0 0 * * *', 'UTC', '[]', false, 'ada' from generate_series(1, 95) n",
    )
    .bind(stack.org.0)
    .execute(&stack.database.superuser)
    .await
    .unwrap();
    api.client
        .post(PATH, &nightly("One too many"))
        .await
        .problem(409, "too-many-schedules");
}
