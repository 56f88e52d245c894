//! The servers that are measured.
//!
//! | name | what it is | vouchers are kept |
//! |---|---|---|
//! | `bare` | an axum handler | it takes none |
//! | `layer` | the same handler behind the payment layer | on the disk, synced, before the answer |
//! | `gateway` | the program `farebox` before the same handler | on the disk, synced, before the answer |
//! | `mpp` | the session server of crate `mpp` in axum | in memory |
//! | `mppx` | the session server of mppx on Node | in memory |

use std::path::PathBuf;
use std::process::Command;

use crate::load::{Cost, Plan, Row, Target, measure};
use crate::net::{Net, gateway_config};
use crate::payers::{PRICE, Payer};
use crate::process::{Ending, Process};
use crate::target;

/// The servers, in the order of their measurement.
pub const NAMES: [&str; 5] = ["bare", "layer", "gateway", "mpp", "mppx"];

/// Requests that are made for a peer; it is measured for some seconds.
const PEER_REQUESTS: usize = 65_536;

/// How much is measured of which servers.
pub struct Cases {
    /// Connections that each have one request on its way.
    pub in_flight: Vec<usize>,
    pub plan: Plan,
    /// For how long a peer is measured.
    pub peer_s: u64,
}

/// Takes every row as it is measured.
pub type Taker<'a> = dyn FnMut(&str, usize, &Row) + 'a;

impl Cases {
    /// Measures the server `name`.
    pub async fn measure(&self, name: &str, take: &mut Taker<'_>) -> Result<(), String> {
        let channels = self.in_flight.iter().copied().max().unwrap_or_default();
        if let "bare" | "layer" = name {
            let server = serve(&[name, &channels.to_string()], name)?;
            let payers = if name == "layer" { (0..channels).map(Payer::new).collect() } else { Vec::new() };
            let target = Target { address: server.line.clone(), payers, round: 0 };
            let cost =
                || -> Result<Cost, String> { Ok(Cost { server_us: server.cpu_us()?, ..Cost::default() }) };
            return self.rows(name, self.plan, target, cost, take).await;
        }
        let net = Net::start(&farebox()?, &log("chain"))?;
        match name {
            "gateway" => self.gateway(&net, channels, take).await,
            "mpp" => {
                let (rpc, chain_id) = (net.text("/rpcUrl")?, net.chain_id()?.0.to_string());
                let server = serve(&["mpp", rpc, &chain_id, net.payee()?, net.text("/token")?], name)?;
                self.peer(name, &net, &server, channels, take).await
            }
            "mppx" => {
                let mut command = Command::new("node");
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/mppx.mjs"));
                command.args([&PRICE.get().to_string(), net.line()]);
                let server = Process::start(command, Ending::Input, &log(name))?;
                self.peer(name, &net, &server, channels, take).await
            }
            other => Err(format!("there is no server {other:?}, expected one of {NAMES:?}")),
        }
    }

    async fn gateway(&self, net: &Net, channels: usize, take: &mut Taker<'_>) -> Result<(), String> {
        let folder =
            tempfile::tempdir_in(target()).map_err(|error| format!("cannot make a folder: {error}"))?;
        let upstream = serve(&["bare", "0"], "upstream")?;
        let mut command = Command::new(farebox()?);
        command.args(["serve", "-c"]).arg(gateway_config(net, &upstream.line, folder.path())?);
        let server = Process::start(command, Ending::Signal, &log("gateway"))?;
        let said: serde_json::Value = serde_json::from_str(&server.line).unwrap_or_default();
        let address = said["listen"].as_str().ok_or("the gateway does not say where it listens")?;
        let payers = net.open(address, channels).await?;
        let target = Target { address: address.into(), payers, round: 1 };
        let cost = || -> Result<Cost, String> {
            let (server_us, upstream_us) = (server.cpu_us()?, upstream.cpu_us()?);
            Ok(Cost { server_us, upstream_us, chain_us: net.cpu_us()? })
        };
        self.rows("gateway", self.plan, target, cost, take).await
    }

    async fn peer(
        &self,
        name: &str,
        net: &Net,
        server: &Process,
        channels: usize,
        take: &mut Taker<'_>,
    ) -> Result<(), String> {
        let payers = net.open(&server.line, channels).await?;
        let target = Target { address: server.line.clone(), payers, round: 1 };
        let cost = || -> Result<Cost, String> {
            Ok(Cost { server_us: server.cpu_us()?, chain_us: net.cpu_us()?, ..Cost::default() })
        };
        let plan = Plan { warm_requests: 0, requests: PEER_REQUESTS, seconds_max: Some(self.peer_s) };
        self.rows(name, plan, target, cost, take).await
    }

    async fn rows(
        &self,
        name: &str,
        plan: Plan,
        mut target: Target,
        cost: impl Fn() -> Result<Cost, String>,
        take: &mut Taker<'_>,
    ) -> Result<(), String> {
        for in_flight in &self.in_flight {
            let row = measure(&mut target, *in_flight, plan, &cost).await;
            take(name, *in_flight, &row.map_err(|error| format!("{name}: {error}"))?);
        }
        Ok(())
    }
}

/// This program again, as a server.
pub fn serve(arguments: &[&str], name: &str) -> Result<Process, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("serve").args(arguments);
    Process::start(command, Ending::Input, &log(name))
}

/// The program `farebox`, which the same build put beside this one.
fn farebox() -> Result<PathBuf, String> {
    let file = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("farebox");
    match file.is_file() {
        true => Ok(file),
        false => Err(format!("{} is missing: `make bench-http` builds it", file.display())),
    }
}

/// Where a process complains.
fn log(name: &str) -> PathBuf {
    target().join("bench").join("http").join(format!("{name}.log"))
}
