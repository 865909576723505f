//! A server as a child process on a free port, and a client for it.

use nearness::grpc::{Client, ClientOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Listening address: `http://127.0.0.1:port`.
    pub(crate) url: String,
}

impl Server {
    /// Starts `nearness serve` and waits until it prints its address.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nearness"))
            .args(["serve", "--data"])
            .arg(data)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("NEARNESS_WEB", "none")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        let out = BufReader::new(child.stdout.take().expect("its standard output"));
        let mut lines = out.lines();
        let url = loop {
            let line = lines.next().expect("the server prints its address before it exits").expect("UTF-8");
            if let Some(at) = line.find("127.0.0.1:") {
                let address: String =
                    line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
                break format!("http://{address}");
            }
        };
        // Drains the pipe, so that the server never blocks on it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }

    /// Returns the process id.
    #[allow(dead_code, reason = "only some tests use it")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process (kill -9) and waits for its exit.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the server was running");
        self.child.wait().expect("the server exited");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Connects a client to the server.
pub(crate) async fn client(url: &str) -> Result<Client, String> {
    Client::connect(url, &ClientOptions::default()).await.map_err(|error| error.to_string())
}
