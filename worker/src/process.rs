//! A worker as a process: it works until a signal asks it to end, and says how it ended.

use std::process::ExitCode;

use lockstep_shared::telemetry::Chain;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Works until SIGTERM or SIGINT; then gives back what is under way. The code is 0 unless the worker failed.
pub async fn run(config: Config) -> ExitCode {
    let stop = CancellationToken::new();
    let signal = stop.clone();
    tokio::spawn(async move {
        signalled().await;
        signal.cancel();
    });
    match crate::run(config, stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %Chain(&error), "the worker ended");
            ExitCode::FAILURE
        }
    }
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals can't be listened to; the process ends only when killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to end; giving back what is under way");
}
