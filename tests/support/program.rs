//! The program as a child process: started, read, and surely ended.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::farebox;

/// How long the program may take to say where it listens.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end in order.
const STOP_MAX: Duration = Duration::from_secs(40);
/// How long a server may take to come to the place where it kills itself.
const ENDED_MAX: Duration = Duration::from_secs(60);
/// The pause between two looks whether it ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of its log that are kept.
const LOG_LINES_MAX: usize = 400;

type Log = Arc<Mutex<VecDeque<String>>>;

/// A running server. Dropping it kills it; when a test fails, its log is shown.
pub struct Program {
    child: Child,
    log: Log,
    /// Paid traffic.
    pub listen: SocketAddr,
    /// The admin API.
    pub admin_listen: SocketAddr,
}

impl Program {
    /// Starts `farebox serve` and returns when it said where it listens.
    pub fn serve(config: &Path, variables: &[(&str, &str)]) -> Self {
        Self::serve_with(config, &[], variables)
    }

    /// The same, with more arguments.
    pub fn serve_with(config: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(farebox());
        command.args(["serve", "-c"]).arg(config).args(arguments).envs(variables.iter().copied());
        command.stdin(Stdio::null());
        Self::of(command)
    }

    /// Starts a command that is a server in the end.
    pub fn of(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts farebox");
        let log = Log::default();
        keep(child.stderr.take().expect("stderr is a pipe"), Arc::clone(&log), None);
        let (send, said) = mpsc::channel();
        keep(child.stdout.take().expect("stdout is a pipe"), Arc::clone(&log), Some(send));

        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on a failure drops, and so ends, the child.
        let mut program = Self { child, log, listen: nowhere, admin_listen: nowhere };
        let ready = match said.recv_timeout(READY_MAX) {
            Ok(ready) => ready,
            Err(RecvTimeoutError::Timeout) => panic!("farebox said nothing in {READY_MAX:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("farebox ended before it was ready: {:?}", program.child.wait())
            }
        };
        program.listen = address(&ready, "listen");
        program.admin_listen = address(&ready, "adminListen");
        program
    }

    /// Asks it to end (SIGTERM), and insists when it does not.
    pub async fn stop(&mut self) -> ExitStatus {
        // The standard library sends no signals but SIGKILL.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        assert!(sent.expect("runs a shell").success(), "the server is gone already");
        let end = Instant::now() + STOP_MAX;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("asks for the child") {
                return status;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("the server did not end in {STOP_MAX:?}");
    }

    /// Waits until it ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let end = Instant::now() + ENDED_MAX;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("asks for the child") {
                return status;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("the server did not end in {ENDED_MAX:?}");
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        let lines = self.log.lock().expect("no reader panics");
        lines.iter().map(|line| format!("  | {line}\n")).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the log of farebox:\n{}", self.log());
        }
    }
}

/// Runs a command of the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(farebox()).args(arguments).stdin(Stdio::null()).output().expect("runs farebox")
}

/// Keeps what a pipe says; `ready` gets the first line that is a JSON object, and is dropped at the end.
fn keep(pipe: impl Read + Send + 'static, log: Log, ready: Option<mpsc::Sender<Value>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let (Some(ready), Ok(value @ Value::Object(_))) = (&ready, serde_json::from_str(&line)) {
                // Nobody listens any more after the first one.
                let _ = ready.send(value);
                continue;
            }
            let mut log = log.lock().expect("no reader panics");
            if log.len() == LOG_LINES_MAX {
                log.pop_front();
            }
            log.push_back(line);
        }
    });
}

fn address(ready: &Value, name: &str) -> SocketAddr {
    let text = ready[name].as_str().unwrap_or_else(|| panic!("no {name} in {ready}"));
    text.parse().unwrap_or_else(|_| panic!("{name} is no address in {ready}"))
}
