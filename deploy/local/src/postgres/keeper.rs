//! A small process that stops Postgres when its parent is gone.
//!
//! It reads a pipe whose other end only the parent holds. However the parent ends, the system closes that end, and the
//! keeper reads the end of the file. It has a process group of its own, so that Ctrl-C does not end it first.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Arguments: the folder of Postgres, the signal that stops it, and the folder to remove afterwards or nothing.
///
/// Every line read is the process id to guard from then on, or empty for none. The process is asked for by its
/// arguments, since its id may have been given to another one meanwhile. A process that ended but was not collected by
/// its parent has no arguments.
const SCRIPT: &str = r#"
data=$1 signal=$2 remove=$3 pid=
while read -r line; do pid=$line; done
arguments() {
  if [ -d /proc/self ]; then tr '\0' '\n' <"/proc/$pid/cmdline"; else ps -o command= -p "$pid"; fi
}
runs() { [ -n "$pid" ] && arguments | grep -qF -e "$data"; }
rounds=0
while [ "$rounds" -lt 300 ] && runs; do
  if [ "$rounds" -eq 0 ]; then kill -s "$signal" "$pid"; fi
  if [ "$rounds" -eq 200 ]; then kill -s QUIT "$pid"; fi
  rounds=$((rounds + 1))
  sleep 0.1
done
if [ -n "$remove" ]; then rm -rf -- "$remove"; fi
"#;

/// Guards one cluster; dropping it lets the keeper do its work.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Closed by the drop of its owner, which is what the keeper waits for.
    pipe: Option<ChildStdin>,
    process: Child,
}

/// What the keeper does with the files once Postgres is stopped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Afterwards<'a> {
    Keep,
    Remove(&'a Path),
}

impl Keeper {
    pub(super) fn start(data: &Path, afterwards: Afterwards<'_>) -> io::Result<Self> {
        let (signal, remove) = match afterwards {
            Afterwards::Keep => ("INT", Path::new("")),
            Afterwards::Remove(folder) => ("QUIT", folder),
        };
        let mut process = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "postgres-keeper"])
            .arg(data)
            .arg(signal)
            .arg(remove)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self {
            pipe: process.stdin.take(),
            process,
        })
    }

    /// Names the process to stop when this one is gone; a later call replaces it.
    pub(super) fn guard(&mut self, pid: Option<u32>) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let line = pid.map_or_else(|| "\n".to_owned(), |pid| format!("{pid}\n"));
        pipe.write_all(line.as_bytes())
    }

    /// Lets the keeper do its work, without waiting for it.
    pub(super) fn let_go(&mut self) {
        self.pipe = None;
    }

    /// Says whether the keeper has done its work; only true after [`Keeper::let_go`].
    pub(super) fn is_done(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)) | Err(_))
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// Says whether the process `pid` runs and is a Postgres that was started for the folder `data`.
pub(super) fn is_postgres_of(pid: u32, data: &Path) -> bool {
    let data = data.to_string_lossy();
    if !Path::new("/proc/self").exists() {
        return Command::new("ps")
            .args(["-o", "command=", "-p", &pid.to_string()])
            .output()
            .is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains(data.as_ref()));
    }
    // Not the link to its working folder, which root may not read in a container.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| {
        arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == data.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_not_started_for_the_folder_is_not_its_postgres() {
        assert!(!is_postgres_of(std::process::id(), Path::new("/no/such/folder")));
    }
}
