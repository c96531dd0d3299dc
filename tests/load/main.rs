//! What is measured, one after another, and in a binary of its own, so that nothing else runs beside it: the short form of
//! every load scenario, and how right an estimate is.

mod progress;

use std::path::Path;

use lockstep_tests::load::{Scenario, Size, run};
use lockstep_tests::process::Program;
use tokio::sync::{Mutex, MutexGuard};

/// Waits until nothing else is measured, and keeps it so.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// R90, R91, R92, R93, R94, R35, each at the size that a test can wait for; the program `load` has the full ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_load_scenario_passes_in_its_short_form() {
    let _alone = alone().await;
    let program = Program::new(Path::new(env!("CARGO_BIN_EXE_load")));
    let mut failed = Vec::new();

    for scenario in Scenario::ALL {
        let report = run(&program, scenario, Size::Short).await.unwrap();
        println!("{} {}\n{report}", scenario.requirement(), scenario.name());
        if !report.has_passed() {
            failed.push(format!(
                "{} {}: {report}",
                scenario.requirement(),
                scenario.name()
            ));
        }
    }

    assert_eq!(failed, Vec::<String>::new());
}
