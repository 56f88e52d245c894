//! Runs the program, as a shell would.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod fake_chain;

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command
        .args(arguments)
        .env_remove("FAREBOX_LOG")
        .env_remove("FAREBOX_LOG_FORMAT")
        .env_remove("FAREBOX_BACKEND");
    command
}

pub fn farebox(arguments: &[&str]) -> Ended {
    farebox_with_input(arguments, b"")
}

pub fn farebox_with_input(arguments: &[&str], input: &[u8]) -> Ended {
    end_of(command(arguments), input)
}

pub fn end_of(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // Beside the reading, or both sides would wait with full pipes.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running program whose first line is JSON. Killed when it is dropped.
pub struct Running {
    child: Child,
    pub first_line: Value,
    stderr: PathBuf,
}

impl Running {
    /// Starts it; its logs go to a file in `folder`.
    pub fn start(command: Command, folder: &Path) -> Result<Self, Ended> {
        Self::start_with(command, Stdio::null(), folder)
    }

    /// The same, with something else than nothing as its input.
    pub fn start_with(mut command: Command, stdin: Stdio, folder: &Path) -> Result<Self, Ended> {
        let stderr = folder.join(format!("stderr-{:x}.txt", Instant::now().elapsed().as_nanos()));
        command.stdin(stdin).stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(&stderr).unwrap();
        match serde_json::from_str(&line) {
            Ok(first_line) => Ok(Self { child, first_line, stderr }),
            Err(_) => {
                let code = child.wait().unwrap().code().unwrap_or(-1);
                Err(Ended { code, stdout: line, stderr: log() })
            }
        }
    }

    pub fn text(&self, key: &str) -> &str {
        self.first_line[key].as_str().unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it to end, and waits until it did.
    pub fn end(mut self, signal: &str) -> Ended {
        self.signal(signal);
        let begin = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        };
        Ended { code, stdout: String::new(), stderr: self.log() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer: its head with the names of headers as they were sent.
pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// The status and the body of a GET.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let Answered { status, body, .. } = get_with(address, path, "");
    (status, body)
}

/// A GET with more lines in its head.
pub fn get_with(address: &str, path: &str, lines: &str) -> Answered {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answered { status, head: format!("{head}\r\n"), body: body.to_owned() }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
