//! The files of the web page: built from `web/` (TypeScript and Vite), committed as `web/dist`, and embedded in the
//! binary by `build.rs`.
//!
//! This module is independent of the network; `src/grpc/web_ui.rs` serves the files.

use std::io::Read;

/// For each file: path, SHA-256 of the content in hexadecimal, gzip of the content.
static PACKED: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// The start page.
const INDEX: &str = "index.html";
/// Folder of files whose names contain a hash of their content.
const NAMED_BY_HASH: &str = "assets/";

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub struct File {
    path: &'static str,
    /// SHA-256 of the content, 64 hexadecimal digits.
    pub hash: &'static str,
    /// The content, compressed with gzip.
    pub gzip: &'static [u8],
}

impl File {
    /// Returns the media type.
    pub fn content_type(&self) -> &'static str {
        match self.path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("txt") => "text/plain; charset=utf-8",
            _ => "application/octet-stream",
        }
    }

    /// Whether the name contains a hash of the content, so that the file never changes under its name.
    pub fn is_named_by_hash(&self) -> bool {
        self.path.starts_with(NAMED_BY_HASH)
    }

    /// Returns the uncompressed content, for clients without gzip.
    ///
    /// # Errors
    /// If the embedded data is not gzip.
    pub fn content(&self) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::new();
        flate2::read::GzDecoder::new(self.gzip).read_to_end(&mut content)?;
        Ok(content)
    }
}

/// Returns the file at a URL path; `/` is the start page.
pub fn find(path: &str) -> Option<File> {
    let path = path.strip_prefix('/')?;
    let name = if path.is_empty() { INDEX } else { path };
    let (path, hash, gzip) = PACKED.iter().find(|(path, _, _)| *path == name).copied()?;
    Some(File { path, hash, gzip })
}

/// Returns all files.
pub fn files() -> impl Iterator<Item = File> {
    PACKED.iter().map(|(path, hash, gzip)| File { path, hash, gzip })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn every_linked_file_exists() {
        let page = String::from_utf8(find("/").expect("a page").content().unwrap()).unwrap();
        assert_eq!(find("/index.html").unwrap().hash, find("/").unwrap().hash);
        let mut linked = 0;
        for part in page.split(['"', '\'']).filter(|part| part.starts_with("./")) {
            assert!(find(&part[1..]).is_some(), "the page links {part}, which does not exist");
            linked += 1;
        }
        assert!(linked >= 2, "the page links no script and no style: {page}");
        for invalid in ["", "index.html", "//", "/../Cargo.toml", "/assets", "/assets/", "/INDEX.HTML"] {
            assert!(find(invalid).is_none(), "{invalid:?}");
        }
    }

    #[test]
    fn every_file_has_its_content_type_and_hash() {
        for file in files() {
            assert_ne!(file.content_type(), "application/octet-stream", "{}", file.path);
            let hash = Sha256::digest(file.content().unwrap());
            assert_eq!(file.hash, hash.iter().fold(String::new(), |hash, byte| hash + &format!("{byte:02x}")));
        }
    }

    #[test]
    fn the_page_has_no_inline_code_and_names_no_other_host() {
        let page = String::from_utf8(find("/").unwrap().content().unwrap()).unwrap();
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("onload="), "{page}");
        assert!(!page.contains("//"), "the page names another host: {page}");
        for script in page.split("<script").skip(1) {
            assert!(script.split('>').next().unwrap().contains("src="), "an inline script: {script}");
        }
    }
}
