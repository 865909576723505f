//! The file format of a snapshot: a tar file, written and read sequentially.
//!
//! ```text
//! FORMAT  manifest.json  the parts, as the manifest lists them ...  SHA256SUMS  two blocks of zeros
//! ```
//!
//! A reader computes the only valid header of each entry, and compares. Bytes without a checksum are compared with
//! their only valid value, so that every changed byte is detected.

use super::framing::{BLOCK, END, MAGIC, MANIFEST, VERSION, opening, sum_line};
use super::manifest::{Manifest, Part, SnapshotName};
use crate::api::{Error, Job, Observe};
use crate::snapshot_store::is_full;
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read, Write};

const FORMAT: &str = "FORMAT";
const SUMS: &str = "SHA256SUMS";
const MAX_FORMAT_BYTES: u64 = 256;
const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// Bytes transferred at a time.
pub(crate) const PIECE: usize = 1 << 20;

fn header(name: &str, bytes: u64) -> [u8; BLOCK] {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).expect("the names of parts are short and plain");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    *header.as_bytes()
}

/// A snapshot writer.
pub(crate) struct Writer<'w> {
    out: &'w mut dyn Write,
    sums: String,
    done: u64,
    total: u64,
    observe: Observe<'w>,
}

impl<'w> Writer<'w> {
    pub(crate) fn begin(out: &'w mut dyn Write, manifest: &Manifest, observe: Observe<'w>) -> Result<Self, Error> {
        let total =
            manifest.file_bytes().ok_or_else(|| Error::Exhausted("the size of the snapshot overflows".into()))?;
        let mut writer = Self { out, sums: String::new(), done: 0, total, observe };
        let json = manifest.to_json();
        writer.entry(FORMAT, opening(&json).as_bytes())?;
        writer.entry(MANIFEST, &json)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(PIECE) {
            self.out.write_all(piece).map_err(|error| {
                let why = format!("the snapshot cannot be written: {error}");
                if is_full(&error) { Error::Exhausted(why) } else { Error::Unavailable(why) }
            })?;
            self.done += piece.len() as u64;
            report(self.observe, self.done, self.total)?;
        }
        Ok(())
    }

    fn pad(&mut self, bytes: u64) -> Result<(), Error> {
        let missing = bytes.next_multiple_of(BLOCK as u64) - bytes;
        self.put(&[0; BLOCK][..missing as usize])
    }

    fn entry(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        self.put(&header(name, content.len() as u64))?;
        self.put(content)?;
        self.pad(content.len() as u64)
    }

    /// Writes a part. `fill` supplies all of its bytes.
    pub(crate) fn part(
        &mut self,
        part: Part,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let name = part.kind.name();
        self.put(&header(&name, part.bytes))?;
        let (mut hasher, mut put) = (Sha256::new(), 0);
        fill(&mut |bytes| {
            for piece in bytes.chunks(PIECE) {
                hasher.update(piece);
                put += piece.len() as u64;
                self.put(piece)?;
            }
            Ok(())
        })?;
        if put != part.bytes {
            let what = format!("the part {name} of a snapshot has {put} bytes, not {} as was planned", part.bytes);
            return Err(Error::Damaged { what });
        }
        self.pad(part.bytes)?;
        self.sums += &sum_line(hasher.finalize().into(), &name);
        Ok(())
    }

    /// Writes checksums and end. Returns the length of the file.
    pub(crate) fn end(mut self) -> Result<u64, Error> {
        let sums = std::mem::take(&mut self.sums);
        self.entry(SUMS, sums.as_bytes())?;
        self.put(&[0; END])?;
        Ok(self.done)
    }
}

fn report(observe: Observe<'_>, done: u64, total: u64) -> Result<(), Error> {
    if observe(Job::Copying, done, total) { Ok(()) } else { Err(Error::Unavailable("it was cancelled".into())) }
}

/// A snapshot reader.
pub(crate) struct Reader<'r> {
    snapshot: SnapshotName,
    input: Box<dyn Read + 'r>,
    buffer: Vec<u8>,
    sums: String,
    at: u64,
    total: u64,
}

impl<'r> Reader<'r> {
    /// Reads up to the parts. `bytes` is the length of the file.
    pub(crate) fn begin(
        snapshot: &SnapshotName,
        input: Box<dyn Read + 'r>,
        bytes: u64,
    ) -> Result<(Self, Manifest), Error> {
        let buffer = vec![0; PIECE];
        let mut reader = Self { snapshot: snapshot.clone(), input, buffer, sums: String::new(), at: 0, total: bytes };
        let format = reader.entry(FORMAT, MAX_FORMAT_BYTES)?;
        let version = std::str::from_utf8(&format).ok().and_then(|text| text.strip_prefix(MAGIC)?.split_once('\n'));
        let Some((version, sum)) = version else { return Err(reader.damaged("it does not start like a snapshot")) };
        if version != VERSION.to_string() {
            let why = format!("it has format version {:.20}, this program reads version {VERSION}", version);
            return Err(Error::SnapshotRefused { snapshot: snapshot.to_string(), why });
        }
        let json = reader.entry(MANIFEST, MAX_MANIFEST_BYTES)?;
        if sum != sum_line(Sha256::digest(&json).into(), MANIFEST) {
            return Err(reader.damaged("the checksum of the manifest does not match"));
        }
        let manifest = Manifest::from_json(&json).map_err(|what| reader.damaged(format!("the manifest: {what}")))?;
        match manifest.file_bytes() {
            Some(expected) if expected == bytes && manifest.to_json() == json => Ok((reader, manifest)),
            expected => Err(reader.damaged(format!("it has {bytes} bytes, by its manifest {}", expected.unwrap_or(0)))),
        }
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> Error {
        let what = format!("before byte {}: {}", self.at, what.into());
        Error::SnapshotDamaged { snapshot: self.snapshot.to_string(), what }
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), Error> {
        self.at += into.len() as u64;
        self.input.read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.damaged("the file ends"),
            _ => Error::Unavailable(format!("the snapshot {} cannot be read: {error}", self.snapshot)),
        })
    }

    fn header(&mut self, name: &str, bytes: u64) -> Result<(), Error> {
        let mut found = [0; BLOCK];
        self.fill(&mut found)?;
        if found == header(name, bytes) {
            Ok(())
        } else {
            Err(self.damaged(format!("the header of {name} is invalid")))
        }
    }

    fn zeros(&mut self, count: usize) -> Result<(), Error> {
        let mut found = [0; END];
        self.fill(&mut found[..count])?;
        if found == [0; END] { Ok(()) } else { Err(self.damaged("zeros are missing")) }
    }

    fn padding(&mut self, bytes: u64) -> Result<(), Error> {
        self.zeros((bytes.next_multiple_of(BLOCK as u64) - bytes) as usize)
    }

    /// Reads an entry of a length known only from its header.
    fn entry(&mut self, name: &str, max_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut found = [0; BLOCK];
        self.fill(&mut found)?;
        let size = tar::Header::from_byte_slice(&found).size().ok().filter(|size| *size <= max_bytes);
        let Some(size) = size.filter(|size| header(name, *size) == found) else {
            return Err(self.damaged(format!("the header of {name} is invalid: not a snapshot, or a damaged one")));
        };
        let mut content = vec![0; size as usize];
        self.fill(&mut content)?;
        self.padding(size)?;
        Ok(content)
    }

    /// Reads a part. `take` gets its bytes in pieces, before their checksum is verified.
    pub(crate) fn part(
        &mut self,
        part: Part,
        observe: Observe<'_>,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let name = part.kind.name();
        self.header(&name, part.bytes)?;
        let (mut hasher, mut left) = (Sha256::new(), part.bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        while left > 0 {
            let piece = &mut buffer[..left.min(PIECE as u64) as usize];
            self.fill(piece)?;
            hasher.update(&*piece);
            take(piece)?;
            left -= piece.len() as u64;
            report(observe, self.at, self.total)?;
        }
        self.buffer = buffer;
        self.padding(part.bytes)?;
        self.sums += &sum_line(hasher.finalize().into(), &name);
        Ok(())
    }

    /// Verifies all checksums, and the end of the file.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        let sums = std::mem::take(&mut self.sums);
        self.header(SUMS, sums.len() as u64)?;
        let mut found = vec![0; sums.len()];
        self.fill(&mut found)?;
        if found != sums.as_bytes() {
            let mismatch = sums.lines().zip(found.split(|byte| *byte == b'\n')).find(|(a, b)| a.as_bytes() != *b);
            let name = mismatch.and_then(|(line, _)| line.split_once("  ")).map_or("?", |(_, name)| name);
            return Err(self.damaged(format!("the checksum of {name} does not match")));
        }
        self.padding(sums.len() as u64)?;
        self.zeros(END)?;
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("there are bytes after the end of the file")),
            Err(error) => Err(Error::Unavailable(format!("the snapshot {} cannot be read: {error}", self.snapshot))),
        }
    }
}
