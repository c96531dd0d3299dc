//! Where logs go: a file of the data folder, or standard error.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use lockstep_shared::telemetry::{self, LogFormat};
use tracing_subscriber::EnvFilter;

/// What goes to the file: the whole course of the run, with what its libraries warn of.
const FILE_FILTER: &str = "info,sqlx=warn,apalis=warn";

/// Starts logging. A second call changes nothing.
pub(crate) fn start(filter: Option<&str>, file: &Path) -> std::io::Result<()> {
    if let Some(filter) = filter {
        telemetry::init(filter, LogFormat::Text);
        return Ok(());
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)?;
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(FILE_FILTER))
        .with_writer(Mutex::new(file))
        .with_ansi(false)
        .try_init();
    Ok(())
}
