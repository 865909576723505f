//! The command line.
use std::process::ExitCode;
/// Parses the arguments, runs the command, prints an error's chain.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
