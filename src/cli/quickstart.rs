//! `nearness quickstart`.

use super::args::QuickstartArgs;

/// Runs the show.
pub(crate) fn run(args: QuickstartArgs) -> anyhow::Result<()> {
    anyhow::bail!("quickstart is not part of this build: {args:?}")
}
