//! Connections to the database that died without a word.
//!
//! A machine that is lost says goodbye to nobody, and a statement that was sent to it is waited for without end: sqlx
//! watches no connection, and can't be told to. Where the database answers whoever connects anew and not who was connected
//! before, the process is of no use any more. It has nothing that is not in rows, so it ends, and is started again by
//! whoever looks after it. A database that answers nobody is waited for (R16).

use std::pin::pin;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep, timeout};

/// Resolves when a connection of its own has had no answer for this long, though a new one would. Looks four times as often.
pub async fn noticed(database: &PgConnectOptions, limit: Duration) {
    let pause = limit / 4;
    let mut known = None;
    loop {
        sleep(pause).await;
        let Some(connection) = &mut known else {
            // Where nobody is there, whoever needs the database says so.
            let connecting = timeout(pause, PgConnection::connect_with(database));
            known = connecting.await.ok().and_then(Result::ok);
            continue;
        };
        match ask(connection, database, limit).await {
            Answer::Given => {}
            Answer::Refused => known = None,
            Answer::Lost => return,
        }
    }
}

enum Answer {
    Given,
    /// The connection has ended, and said so.
    Refused,
    Lost,
}

async fn ask(connection: &mut PgConnection, database: &PgConnectOptions, limit: Duration) -> Answer {
    let asked_at = Instant::now();
    let mut answer = pin!(connection.ping());
    loop {
        match timeout(limit / 4, &mut answer).await {
            Ok(Ok(())) => return Answer::Given,
            Ok(Err(_)) => return Answer::Refused,
            Err(_) if asked_at.elapsed() < limit => {}
            Err(_) if timeout(limit / 4, answers_anew(database)).await.unwrap_or(false) => {
                return Answer::Lost;
            }
            Err(_) => {}
        }
    }
}

async fn answers_anew(database: &PgConnectOptions) -> bool {
    let Ok(mut connection) = PgConnection::connect_with(database).await else {
        return false;
    };
    connection.ping().await.is_ok()
}
