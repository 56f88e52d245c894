//! The anvil process: found, started, and surely ended.
//!
//! anvil must never outlive its owner, however the owner ends. A process that is killed with SIGKILL runs no
//! code, so its end must be seen from outside: anvil runs under a small shell that holds the read end of a pipe,
//! while this process holds the write end. When this process ends, in whatever way, the kernel closes the
//! pipe, the shell reads the end of its input, and kills anvil. (The Linux parent death signal would need unsafe
//! code here, and it fires when the *thread* that started the child ends.)

use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::Error;

/// Runs its arguments as a command until the command ends or standard input does.
/// The watcher is a subshell that only reads, so it costs nothing while it waits; it is ended together with the
/// command, so it can never kill a stranger that got the same process id later.
const WATCHDOG: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
command=$!
( read -r _ <&3; kill -9 "$command" ) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
trap 'kill -9 "$command" 2>/dev/null' TERM INT HUP
wait "$command"
status=$?
kill -9 "$watcher" 2>/dev/null
exit "$status"
"#;

/// What anvil prints when it is ready; the address follows.
const READY: &str = "Listening on 127.0.0.1:";

/// A busy machine may need long to load the binary.
const START_S_MAX: u64 = 60;
/// How long the shell may take to kill anvil after the pipe closed.
const END_MS_MAX: u64 = 5_000;
const END_POLL_MS: u64 = 2;
/// How often [`Anvil::ended`] looks.
const ENDED_POLL_MS: u64 = 200;
const LAST_WORDS_LINES_MAX: usize = 20;

/// States of past blocks that anvil keeps, all in memory. Without this option it writes older ones to disk.
const PAST_STATES_MAX: &str = "1024";

/// Finds the binary: the given path, else `FAREBOX_ANVIL`, else `node_modules` here and in every parent.
pub(crate) fn find(given: Option<&Path>) -> Result<PathBuf, Error> {
    find_from(given, env::var_os("FAREBOX_ANVIL"), env::current_dir().unwrap_or_default())
}

fn find_from(given: Option<&Path>, variable: Option<OsString>, dir: PathBuf) -> Result<PathBuf, Error> {
    let mut looked_at: Vec<PathBuf> = Vec::new();
    if let Some(path) = given.map(Path::to_owned).or_else(|| variable.map(PathBuf::from)) {
        // An explicit choice is never replaced by another binary.
        looked_at.push(path);
    } else {
        let package = format!("@foundry-rs/anvil-{}-{}/bin/anvil", platform(), processor());
        looked_at.extend(dir.ancestors().map(|parent| parent.join("node_modules").join(&package)));
    }
    match looked_at.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::AnvilMissing { looked_at }),
    }
}

/// The platform in npm's words.
fn platform() -> &'static str {
    match env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

/// The processor in npm's words.
fn processor() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A running anvil. Dropping it kills it, and returns when it is gone.
#[derive(Debug)]
pub(crate) struct Anvil {
    watchdog: Child,
    port: u16,
    last_words: LastWords,
}

impl Anvil {
    /// Starts anvil as a Tempo node on a free port of 127.0.0.1 and returns when it listens.
    pub(crate) async fn start(binary: &Path, chain_id: u64) -> Result<Self, Error> {
        // The default hardfork hangs on a second expiring-nonce transaction.
        // Time must go on without transactions, or simulations refuse `validBefore`; yet a transaction does not wait for
        // the next second.
        let tempo = ["--network", "tempo", "--hardfork", "T4", "--block-time", "1", "--mixed-mining"];
        Self::start_with(binary, chain_id, &tempo).await
    }

    /// The same as a node of a chain like Ethereum, with a block for every transaction.
    pub(crate) async fn start_plain(binary: &Path, chain_id: u64) -> Result<Self, Error> {
        Self::start_with(binary, chain_id, &[]).await
    }

    async fn start_with(binary: &Path, chain_id: u64, kind: &[&str]) -> Result<Self, Error> {
        let mut watchdog = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "farebox-devnet"])
            .arg(binary)
            .args(["--host", "127.0.0.1", "--port", "0", "--chain-id", &chain_id.to_string()])
            .args(kind)
            .args(["--prune-history", PAST_STATES_MAX])
            .env_remove("ANVIL_IP_ADDR")
            // Ctrl-C on a terminal reaches the whole process group: the owner decides, not the terminal.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Spawn { binary: binary.to_owned(), source })?;

        let last_words = LastWords::default();
        if let Some(stderr) = watchdog.stderr.take() {
            last_words.listen(stderr);
        }
        let ready = watchdog.stdout.take().map(find_port);
        let mut anvil = Self { watchdog, port: 0, last_words };
        let Some(ready) = ready else { return Err(anvil.failure()) };
        match tokio::time::timeout(Duration::from_secs(START_S_MAX), ready).await {
            Ok(Ok(port)) => {
                anvil.port = port;
                Ok(anvil)
            }
            // It ended, or it is too slow.
            Ok(Err(_)) | Err(_) => Err(anvil.failure()),
        }
    }

    /// The port on 127.0.0.1 that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> Error {
        while let Ok(None) = self.watchdog.try_wait() {
            tokio::time::sleep(Duration::from_millis(ENDED_POLL_MS)).await;
        }
        self.failure()
    }

    fn failure(&mut self) -> Error {
        // Its output ends a moment before the shell does; wait for the status, but not for ever.
        let deadline = Instant::now() + Duration::from_millis(ENDED_POLL_MS);
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(END_POLL_MS));
            status = self.watchdog.try_wait().ok().flatten();
        }
        Error::AnvilEnded { status, last_words: self.last_words.text() }
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // Closes the pipe: the shell's sign to kill anvil.
        drop(self.watchdog.stdin.take());
        let deadline = Instant::now() + Duration::from_millis(END_MS_MAX);
        while let Ok(None) = self.watchdog.try_wait() {
            if Instant::now() >= deadline {
                let _ = self.watchdog.kill();
                let _ = self.watchdog.wait();
                return;
            }
            thread::sleep(Duration::from_millis(END_POLL_MS));
        }
    }
}

/// Reads anvil's output until it names its port, and then on and on, because a full pipe would stop anvil.
fn find_port(stdout: impl Read + Send + 'static) -> oneshot::Receiver<u16> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.strip_prefix(READY)?.trim().parse().ok());
        if let Some(port) = port {
            let _ = sender.send(port);
            lines.for_each(drop);
        }
    });
    receiver
}

/// The end of anvil's error output, for error messages.
#[derive(Clone, Debug, Default)]
struct LastWords(Arc<Mutex<VecDeque<String>>>);

impl LastWords {
    fn listen(&self, stderr: impl Read + Send + 'static) {
        let words = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // A poisoned lock only means that a reader panicked; the words are still good.
                let mut kept = words.0.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LAST_WORDS_LINES_MAX {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_empty() { "none".to_owned() } else { kept.iter().cloned().collect::<Vec<_>>().join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_path_is_never_replaced() {
        let given = find_from(Some(Path::new("/nowhere/anvil")), None, PathBuf::from("/"));
        let variable = find_from(None, Some(OsString::from("/nowhere/anvil")), PathBuf::from("/"));
        for result in [given, variable] {
            let Err(Error::AnvilMissing { looked_at }) = result else { panic!("found {result:?}") };
            assert_eq!(looked_at, [PathBuf::from("/nowhere/anvil")]);
        }
    }

    #[test]
    fn parents_are_searched_and_named_in_the_error() {
        let error = find_from(None, None, PathBuf::from("/nowhere/below")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nowhere/below/node_modules/@foundry-rs/anvil-"), "{text}");
        assert!(text.contains("/nowhere/node_modules/@foundry-rs/anvil-"), "{text}");
        assert!(text.contains("scripts/setup.sh"), "{text}");
    }

    #[tokio::test]
    async fn a_binary_that_fails_is_reported_with_its_words() {
        // Not anvil, so it refuses anvil's options.
        let error = Anvil::start(Path::new("/bin/cat"), 1).await.unwrap_err();
        let Error::AnvilEnded { status, last_words } = error else { panic!("{error}") };
        assert!(status.is_some_and(|status| !status.success()), "{status:?}");
        assert!(last_words.contains("option"), "{last_words}");
    }
}
