//! What goes wrong with whole calls, and what it means for the writes that they carried.

use std::time::{Duration, Instant};

use lockstep_sandbox::fault::Fault;
use lockstep_shared::system::EntityType;
use lockstep_worker::connector::http::Options;
use lockstep_worker::connector::{CallError, Connector, Cursor, Outcome, Purpose, Reach, Request};

use super::content::plain;
use super::harness::{Harness, Turnstile, a_while, create, wanted};
use super::subject::{Caller, Subject};

fn status(code: u16) -> Fault {
    Fault::Status {
        code,
        retry_after: None,
        body: None,
    }
}

/// Faults after which nobody knows whether a write was done.
fn breakdowns() -> Vec<Fault> {
    vec![
        status(500),
        status(502),
        status(504),
        Fault::Truncated,
        Fault::CutConnection,
        Fault::LostReply,
    ]
}

fn reach(result: Result<Vec<Outcome>, CallError>) -> Reach {
    match result {
        Err(CallError::Unwell { reach, .. }) => reach,
        other => panic!("{other:?}"),
    }
}

/// Every reading, one after another.
async fn readings(connector: &dyn Connector, entity: EntityType) -> Vec<Result<(), CallError>> {
    let gate = Turnstile::open();
    let write = create(&plain(entity, 1));
    let asked = [wanted(
        &write,
        Purpose::Refresh {
            external_id: "1".to_owned(),
        },
    )];
    vec![
        connector.check(&gate).await.map(drop),
        connector
            .pull(&gate, entity, &Cursor::default(), 10)
            .await
            .map(drop),
        connector.look_up(&gate, entity, &asked).await.map(drop),
    ]
}

/// Plans one create and sends it.
async fn write(
    connector: &dyn Connector,
    entity: EntityType,
    number: usize,
) -> Result<Vec<Outcome>, CallError> {
    let writes = vec![create(&plain(entity, number))];
    let requests = connector.plan(&Turnstile::open(), entity, writes).await?;
    connector.send(&requests[0], a_while()).await
}

async fn planned<S: Subject>(harness: &Harness<S>, entity: EntityType, count: usize) -> Request {
    let writes = (0..count).map(|number| create(&plain(entity, number))).collect();
    let mut requests = harness.plan(entity, writes).await.expect("a plan");
    requests.remove(0)
}

/// R34: wrong credentials stop the batch, whatever it was about to do.
async fn wrong_credentials_are_unauthorised<S: Subject>(entity: EntityType) {
    let subject = S::start().await;
    let stranger = subject.connect(Caller::Stranger, &Options::local());

    let results = readings(stranger.as_ref(), entity).await;
    let written = write(stranger.as_ref(), entity, 1).await;

    for result in results {
        assert!(
            matches!(result, Err(CallError::Unauthorised { .. })),
            "R34: {result:?}"
        );
    }
    assert!(
        matches!(written, Err(CallError::Unauthorised { .. })),
        "R34: {written:?}"
    );
    assert!(subject.ledger().effects().is_empty());
}

/// R34: so do credentials that may only read.
async fn a_reader_that_writes_is_unauthorised<S: Subject>(entity: EntityType) {
    let subject = S::start().await;
    let reader = subject.connect(Caller::Reader, &Options::local());

    let results = readings(reader.as_ref(), entity).await;
    let written = write(reader.as_ref(), entity, 1).await;

    for result in results {
        assert!(result.is_ok(), "{result:?}");
    }
    assert!(
        matches!(written, Err(CallError::Unauthorised { .. })),
        "R34: {written:?}"
    );
    assert!(subject.ledger().effects().is_empty());
}

/// R32: what the system says about waiting is told on.
async fn a_system_that_asks_to_slow_down_is_obeyed<S: Subject>(entity: EntityType) {
    for (code, retry_after, expected) in [
        (429, Some("7"), Some(Duration::from_secs(7))),
        (503, Some("120"), Some(Duration::from_mins(2))),
        (429, None, None),
        (429, Some("soon"), None),
    ] {
        let harness = Harness::<S>::start().await;
        let request = planned(&harness, entity, 2).await;
        let fault = Fault::Status {
            code,
            retry_after: retry_after.map(str::to_owned),
            body: None,
        };
        harness.subject.faults().on_path("", fault, None);

        let mut results = readings(harness.connector.as_ref(), entity).await;
        results.push(harness.send(&request).await.map(drop));

        for result in results {
            let Err(CallError::Throttled {
                status, retry_after, ..
            }) = result
            else {
                panic!("R32: {result:?}")
            };
            assert_eq!((status, retry_after), (code, expected), "R32");
        }
    }
}

/// R13: a write whose answer is none is in doubt.
async fn a_breakdown_leaves_a_write_in_doubt<S: Subject>(entity: EntityType) {
    for fault in breakdowns() {
        let harness = Harness::<S>::start().await;
        let request = planned(&harness, entity, 2).await;
        harness.fault_on_writes(fault.clone(), None);

        let result = harness.send(&request).await;

        assert_eq!(reach(result), Reach::InDoubt, "R13: {fault:?}");
    }
}

async fn a_breakdown_of_a_read_did_nothing<S: Subject>(entity: EntityType) {
    for fault in breakdowns() {
        let harness = Harness::<S>::start().await;
        let is_told = |result: &Result<(), CallError>| {
            matches!(
                result,
                Err(CallError::Unwell {
                    reach: Reach::NoEffect,
                    ..
                })
            )
        };
        for is_warm in [true, false] {
            if is_warm {
                readings(harness.connector.as_ref(), entity).await;
            }
            let connector = harness.subject.connect(Caller::Known, &Options::local());
            let connector = if is_warm { &harness.connector } else { &connector };
            harness.subject.faults().on_path("", fault.clone(), None);

            let results = readings(connector.as_ref(), entity).await;

            harness.subject.faults().clear();
            for result in results {
                assert!(
                    is_told(&result),
                    "{fault:?}, known already: {is_warm}: {result:?}"
                );
            }
        }
    }
}

/// R13, R32: too slow is as good as gone.
async fn an_answer_that_takes_too_long_leaves_a_write_in_doubt_and_a_read_not<S: Subject>(
    entity: EntityType,
) {
    let subject = S::start().await;
    let harness = Harness::of(subject);
    let request = planned(&harness, entity, 1).await;
    let hurried = harness.subject.connect(
        Caller::Known,
        &Options {
            timeout: Duration::from_millis(300),
            ..Options::local()
        },
    );
    harness.subject.faults().set_latency(Duration::from_mins(1));

    let read = hurried
        .pull(&Turnstile::open(), entity, &Cursor::default(), 10)
        .await;
    // The deadline of a write counts where it is shorter than what the client allows.
    let deadline = Instant::now() + Duration::from_millis(300);
    let written = harness.connector.send(&request, deadline).await;

    assert!(
        matches!(
            read,
            Err(CallError::Unwell {
                reach: Reach::NoEffect,
                ..
            })
        ),
        "{read:?}"
    );
    assert_eq!(reach(written), Reach::InDoubt, "R13");
}

/// R13, R16: where nobody listens, nothing was done.
async fn a_refused_connection_did_nothing<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let request = planned(&harness, entity, 1).await;
    let fresh = harness.subject.connect(Caller::Known, &Options::local());
    let Harness { subject, connector } = harness;
    drop(subject);

    let results = readings(fresh.as_ref(), entity).await;
    // The first may still find the connection that the plan left open, and see it break.
    let _ = connector.send(&request, a_while()).await;
    let written = connector.send(&request, a_while()).await;

    for result in results {
        assert!(
            matches!(
                result,
                Err(CallError::Unwell {
                    reach: Reach::NoEffect,
                    ..
                })
            ),
            "{result:?}"
        );
    }
    assert_eq!(reach(written), Reach::NoEffect, "R13");
}

/// R14: a worker whose time is over writes no more.
async fn nothing_is_sent_after_the_deadline<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let request = planned(&harness, entity, 2).await;
    let before = harness.arrivals();

    let result = harness.connector.send(&request, Instant::now()).await;

    assert_eq!(reach(result), Reach::NoEffect, "R14");
    assert_eq!(harness.arrivals(), before, "R14");
    assert!(harness.subject.ledger().effects().is_empty());
}

/// R70: no error, no log and no stored request says what nobody may know.
async fn no_credential_is_ever_shown<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let request = planned(&harness, entity, 1).await;
    let mut told = vec![
        format!("{:?}", harness.connector),
        format!("{request:?}"),
        request.call.to_string(),
    ];
    let mut errors = Vec::new();
    for caller in [Caller::Known, Caller::Stranger, Caller::Reader] {
        let connector = harness.subject.connect(caller, &Options::local());
        told.push(format!("{connector:#?}"));
        errors.extend(
            readings(connector.as_ref(), entity)
                .await
                .into_iter()
                .filter_map(Result::err),
        );
        errors.extend(write(connector.as_ref(), entity, 1).await.err());
    }
    for fault in breakdowns()
        .into_iter()
        .chain([status(429), status(404), status(403), status(301)])
    {
        harness.subject.faults().on_path("", fault, None);
        let results = readings(harness.connector.as_ref(), entity).await;
        errors.extend(results.into_iter().filter_map(Result::err));
        errors.extend(harness.send(&request).await.err());
        harness.subject.faults().clear();
    }
    let Harness { subject, connector } = harness;
    drop(subject);
    errors.extend(
        readings(connector.as_ref(), entity)
            .await
            .into_iter()
            .filter_map(Result::err),
    );
    errors.extend(connector.send(&request, a_while()).await.err());

    assert!(errors.len() > 20);
    told.extend(
        errors
            .iter()
            .flat_map(|error| [format!("{error}"), format!("{error:?}")]),
    );
    for text in told {
        for secret in S::secrets() {
            assert!(!text.contains(&secret), "R70: `{secret}` in {text}");
        }
    }
}

/// A proxy's page instead of the system's own words.
async fn a_page_instead_of_an_answer_is_no_answer<S: Subject>(entity: EntityType) {
    let harness = Harness::<S>::start().await;
    let request = planned(&harness, entity, 1).await;
    let page = Fault::Status {
        code: 200,
        retry_after: None,
        body: Some("<html><body>Maintenance</body></html>".to_owned()),
    };
    harness.subject.faults().on_path("", page, None);

    let results = readings(harness.connector.as_ref(), entity).await;
    let written = harness.send(&request).await;

    for result in results {
        let is_told = matches!(
            result,
            Err(CallError::Unwell {
                reach: Reach::NoEffect,
                ..
            })
        );
        assert!(is_told, "{result:?}");
    }
    assert_eq!(reach(written), Reach::InDoubt, "R13");
}

async fn a_check_tells_the_version<S: Subject>() {
    let harness = Harness::<S>::start().await;

    let checked = harness
        .connector
        .check(&Turnstile::open())
        .await
        .expect("all is well");

    assert!(!checked.version.is_empty());
}

for_each_entity! {
    wrong_credentials_are_unauthorised,
    a_reader_that_writes_is_unauthorised,
    a_system_that_asks_to_slow_down_is_obeyed,
    a_breakdown_leaves_a_write_in_doubt,
    a_breakdown_of_a_read_did_nothing,
    an_answer_that_takes_too_long_leaves_a_write_in_doubt_and_a_read_not,
    a_refused_connection_did_nothing,
    nothing_is_sent_after_the_deadline,
    no_credential_is_ever_shown,
    a_page_instead_of_an_answer_is_no_answer,
}

for_each_system! { a_check_tells_the_version }
