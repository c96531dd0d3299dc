//! The worker's program as the platform starts it.

use std::process::{Command, Output};

fn start(variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worker"))
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .expect("the program is there")
}

/// R80: a process that is set up wrongly ends at once, names every wrong variable in one error, and shows no secret.
#[test]
fn a_worker_that_is_set_up_wrongly_names_every_wrong_variable() {
    let output = start(&[
        ("INTEGRATION_ENCRYPTION_KEY", "aHVudGVyMg=="),
        ("LOCKSTEP_LEASE_SECS", "1"),
        ("LOCKSTEP_BATCH_SLOTS", "many"),
    ]);

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "R80: {said}");
    for variable in [
        "DATABASE_URL",
        "INTEGRATION_ENCRYPTION_KEY",
        "LOCKSTEP_LEASE_SECS",
        "LOCKSTEP_BATCH_SLOTS",
    ] {
        assert!(said.contains(&format!("`{variable}`")), "R80: {variable}: {said}");
    }
    assert_eq!(said.lines().count(), 1, "R80: {said}");
    assert!(!said.contains("aHVudGVyMg"), "R70: {said}");
}
