//! The processes under measurement: started, asked what they cost, and always stopped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end by itself.
const END_S_MAX: u64 = 20;

/// How a process is told to end.
#[derive(Clone, Copy)]
pub enum Ending {
    /// Its standard input ends.
    Input,
    /// A signal.
    Signal,
}

/// A process; it ends with this value.
pub struct Process {
    child: Child,
    ending: Ending,
    /// What it says first: where it listens.
    pub line: String,
    /// Its output stays open, or it could not write.
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process and waits for its first line. What it complains about goes to the file `log`.
    pub fn start(mut command: Command, ending: Ending, log: &Path) -> Result<Self, String> {
        let what = format!("{:?}", command.get_program());
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let complaints = fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints);
        let mut child = command.spawn().map_err(|error| format!("cannot start {what}: {error}"))?;
        let Some(output) = child.stdout.take() else { return Err(format!("{what} has no output")) };
        let mut process = Self { child, ending, line: String::new(), output: BufReader::new(output) };
        process.output.read_line(&mut process.line).map_err(|error| error.to_string())?;
        if process.line.trim().is_empty() {
            return Err(format!("{what} did not start; see {}", log.display()));
        }
        process.line.truncate(process.line.trim_end().len());
        Ok(process)
    }

    /// The processor time that it and its children have used, in microseconds.
    pub fn cpu_us(&self) -> Result<f64, String> {
        cpu_us(self.child.id())
    }

    /// The memory that it occupies, in bytes.
    pub fn rss_bytes(&self) -> Result<u64, String> {
        let status = read(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1_024).ok_or_else(|| "the system does not tell the memory of a process".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let (Ending::Signal, Some(pid)) = (self.ending, Pid::from_raw(self.child.id().cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + Duration::from_secs(END_S_MAX);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the kernel counted for a process and its living children.
fn cpu_us(pid: u32) -> Result<f64, String> {
    let stat = read(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
        return Err(format!("the system does not tell the processor time of {pid}"));
    };
    let mut used = (user + system) as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            used += cpu_us(child)?;
        }
    }
    Ok(used)
}

fn read(path: String) -> Result<String, String> {
    fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}
