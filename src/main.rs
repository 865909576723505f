//! The `nearness` program: parses arguments, runs the command, prints the error chain, sets the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    nearness::cli::run()
}
