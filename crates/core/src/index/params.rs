//! Build parameters of a graph. All limits are checked here.

use super::Error;

/// Build parameters of a graph. [`GraphParams::new`] checks the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphParams {
    /// Links of a node on the upper levels; twice as many on the lowest (`M` of Malkov & Yashunin).
    pub m: u32,
    /// Candidates kept while a row is inserted.
    pub ef_construction: u32,
    /// Seed of the levels.
    pub seed: u64,
    /// Threads that build; at least 1.
    pub threads: usize,
}

impl GraphParams {
    /// Minimum links: with 1 the number of levels would be unbounded.
    pub const MIN_M: u32 = 2;
    /// Maximum links (`hnsw_rs` stores this number in a byte).
    pub const MAX_M: u32 = 255;
    /// Maximum candidates.
    pub const MAX_EF_CONSTRUCTION: u32 = 4096;
    /// Maximum threads.
    pub const MAX_THREADS: usize = 1024;

    /// Returns checked parameters; 0 threads means all of the machine's.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] naming the limit.
    pub fn new(m: u32, ef_construction: u32, seed: u64, threads: usize) -> Result<Self, Error> {
        let threads =
            if threads == 0 { std::thread::available_parallelism().map_or(1, std::num::NonZero::get) } else { threads };
        let params = Self { m, ef_construction, seed, threads };
        params.check()?;
        Ok(params)
    }

    /// Checks the limits again: the fields are public.
    pub(super) fn check(&self) -> Result<(), Error> {
        let within = |name, got: u64, min: u64, max: u64| {
            if (min..=max).contains(&got) { Ok(()) } else { Err(Error::InvalidParams { name, min, max, got }) }
        };
        within("m", self.m.into(), Self::MIN_M.into(), Self::MAX_M.into())?;
        within("ef_construction", self.ef_construction.into(), 1, Self::MAX_EF_CONSTRUCTION.into())?;
        within("threads", self.threads as u64, 1, Self::MAX_THREADS as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        assert!(GraphParams::new(16, 200, 1, 0).is_ok_and(|p| p.threads >= 1));
        for (m, ef, threads, name) in
            [(1, 9, 1, "m"), (256, 9, 1, "m"), (8, 0, 1, "ef_construction"), (8, 9, 2000, "threads")]
        {
            let error = GraphParams::new(m, ef, 0, threads).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
