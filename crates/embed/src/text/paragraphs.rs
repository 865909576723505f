//! Paragraphs of WikiExtractor files with their articles, and the selection of held-out articles.
//!
//! A tenth of the articles, selected by a hash of the title, is excluded from training; evaluations query only their
//! paragraphs.

use crate::{
    Error,
    formats::wiki::{Article, WikiLine, WikiParser},
    words::{Tokenizer, data},
};
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Minimum words of a paragraph; shorter ones are headings or captions.
pub const MIN_WORDS: usize = 20;
/// 1/10 of the articles is held out.
const HELD_OUT_DIVISOR: u64 = 10;
/// Maximum size of the text read into memory, in bytes.
const MAX_BYTES: u64 = 8 << 30;

/// Paragraphs in file order; those of an article are adjacent.
#[derive(Debug, Default)]
pub struct Paragraphs {
    texts: Vec<String>,
    /// The article number of each paragraph.
    articles: Vec<u32>,
    titles: Vec<String>,
    held_out: Vec<bool>,
}

impl Paragraphs {
    /// Reads the paragraphs of at least `min_words` words. Articles with a duplicate title are skipped.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::InvalidInput`] for more than 8 GiB of text, or if no article has a paragraph.
    pub fn read(files: &[PathBuf], min_words: usize) -> Result<Self, Error> {
        let (mut all, mut seen, mut bytes) = (Self::default(), FxHashSet::default(), 0);
        for path in files {
            let (mut parser, mut is_new) = (WikiParser::default(), false);
            data::for_each_line_or_tag(path, &mut |line| {
                match parser.line(line) {
                    WikiLine::Start(Article { title, .. }) => {
                        is_new = seen.insert(title.clone());
                        if is_new {
                            all.held_out.push(is_held_out(&title));
                            all.titles.push(title);
                        }
                    }
                    WikiLine::Title(text) | WikiLine::Paragraph(text) if is_new => {
                        let mut words = 0;
                        Tokenizer::default().words(text, |_| words += 1);
                        if words >= min_words {
                            bytes += text.len() as u64;
                            all.texts.push(text.to_owned());
                            all.articles.push(all.titles.len() as u32 - 1);
                        }
                    }
                    WikiLine::Title(_) | WikiLine::Paragraph(_) | WikiLine::End | WikiLine::Other => {}
                }
                if bytes > MAX_BYTES || all.titles.len() >= u32::MAX as usize {
                    let what = format!("the paragraphs have more than {MAX_BYTES} bytes: {}", path.display());
                    return Err(Error::InvalidInput(what));
                }
                Ok(())
            })?;
        }
        if all.texts.is_empty() {
            let names: Vec<String> = files.iter().take(5).map(|path| path.display().to_string()).collect();
            return Err(Error::InvalidInput(format!(
                "no paragraph of {min_words} words or more within <doc ... title=\"...\"> and </doc> in {}",
                names.join(", ")
            )));
        }
        Ok(all)
    }

    /// Returns the paragraphs.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Returns the article number of each paragraph.
    pub fn articles(&self) -> &[u32] {
        &self.articles
    }

    /// Returns the titles of the articles, by number.
    pub fn titles(&self) -> &[String] {
        &self.titles
    }

    /// Returns whether the paragraph's article is held out.
    pub fn is_held_out(&self, paragraph: usize) -> bool {
        self.held_out[self.articles[paragraph] as usize]
    }

    /// Returns the number of paragraphs of each article.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes = vec![0; self.titles.len()];
        self.articles.iter().for_each(|&article| sizes[article as usize] += 1);
        sizes
    }
}

/// Returns whether the article with that title is held out: the first 8 bytes of the title's SHA-256, little-endian,
/// are a multiple of 10.
pub fn is_held_out(title: &str) -> bool {
    let hash = Sha256::digest(title.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first).is_multiple_of(HELD_OUT_DIVISOR)
}

#[cfg(test)]
pub(super) fn of(articles: &[(&str, &[&str])]) -> Paragraphs {
    let mut all = Paragraphs::default();
    for (title, texts) in articles {
        all.titles.push((*title).into());
        all.held_out.push(is_held_out(title));
        for text in *texts {
            all.texts.push((*text).into());
            all.articles.push(all.titles.len() as u32 - 1);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, min_words: usize) -> Result<Paragraphs, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wiki");
        std::fs::write(&path, text).unwrap();
        Paragraphs::read(&[path], min_words)
    }

    #[test]
    fn paragraphs_have_their_article() {
        let text = "before any article it counts for nothing\n\
            <doc id=\"1\" url=\"u\" title=\"Salt &amp; \"pepper\"\">\nSalt & \"pepper\"\n\none two three four\nHeading.\nfive six seven 8\n</doc>\n\
            between two articles it counts neither\n<doc id=\"2\" title=\"B\">\nB\none, two: three\n</doc>\n\
            <doc id=\"3\" title=\"B\">\nthis title came before\n</doc>\n";
        let all = read(text, 3).unwrap();
        assert_eq!(all.texts(), ["one two three four", "five six seven 8", "one, two: three"]);
        assert_eq!((all.articles(), all.sizes()), (&[0, 0, 1][..], vec![2, 1]));
        assert_eq!(all.titles(), ["Salt & \"pepper\"", "B"]);
        let error = read(text, 5).unwrap_err();
        assert!(error.to_string().contains("no paragraph of 5 words"), "{error}");
        assert!(read("plain text of more than three words\n", 3).is_err());
    }

    #[test]
    fn a_tenth_of_the_articles_is_held_out() {
        let held = (0..10_000).filter(|n| is_held_out(&format!("article {n}"))).count();
        assert!((900..1_100).contains(&held), "{held}");
        // From `hashlib.sha256(title.encode()).digest()`, so that other tools can reproduce the split.
        assert_eq!(["Wolf", "Salt", "Moon", "Tea"].map(is_held_out), [true, false, false, false]);
    }
}
