//! The wish to end: Ctrl-C at a terminal, or SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a shell expects of a process that its user interrupted.
const INTERRUPTED: i32 = 130;

/// Listens for signals until dropped.
#[derive(Debug)]
pub(crate) struct Stop {
    token: CancellationToken,
    listening: JoinHandle<()>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Stop {
    /// Begins to listen. The first signal asks for an end in order; the second one ends the process at once.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = CancellationToken::new();
        let asked = token.clone();
        let listening = tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            asked.cancel();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(INTERRUPTED);
        });
        Ok(Self { token, listening })
    }

    /// Resolves once somebody asked for the end.
    pub(crate) async fn asked(&self) {
        self.token.cancelled().await;
    }
}
