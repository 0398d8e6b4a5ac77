//! Inputs as they were read → texts that are ready to be analysed, or a reason to pass them over.
//!
//! What costs time here, the text of a page and the language of a text, is done by the workers, not by the reader.

use crate::document::{DocumentError, Form, Input};
use crate::language::{Language, detect};
use crate::reader::find_text;

/// What is done to inputs before they are analysed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Preparation {
    /// Passes over texts that are surely not English.
    pub english_only: bool,
}

impl Preparation {
    /// Makes `input` ready, or sets its error.
    pub fn apply(self, input: &mut Input) {
        if input.error.is_none() && input.form == Form::Html {
            input.error = find_text(&mut input.document).err();
            input.form = Form::Text;
        }
        if input.error.is_some() || input.document.text.trim().is_empty() {
            return;
        }
        let declared = input.document.language.take();
        let language = match detect(&input.document.text) {
            Language::Other(code) => code,
            Language::English => "en",
        };
        // What a page declares is often its template's language; what it says counts, and the other is not lost.
        if let Some(declared) = declared.filter(|declared| declared != language) {
            input.document.meta.insert("declared_language".to_owned(), declared.into());
        }
        if language != "en" && self.english_only {
            let message = format!("in `{language}`; --any-language analyses it");
            input.error = Some(DocumentError::skipped("not_english", message));
        }
        input.document.language = Some(language.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    const GERMAN: &str = "Die Fabrik in Lübeck hat nach Angaben des Unternehmens den Betrieb am Montag eingestellt.";

    fn prepared(text: &str, english_only: bool) -> Input {
        let mut input = Input::text(Document { text: text.to_owned(), ..Document::default() });
        Preparation { english_only }.apply(&mut input);
        input
    }

    #[test]
    fn other_languages_are_passed_over_unless_wanted() {
        let german = prepared(GERMAN, true);
        assert_eq!(german.error.map(|e| (e.kind, e.skipped)), Some(("not_english", true)));
        assert_eq!(german.document.language.as_deref(), Some("de"));
        let german = prepared(GERMAN, false);
        assert_eq!((german.error, german.document.language.as_deref()), (None, Some("de")));
        let english = prepared("Acme has left Freedonia.", true);
        assert_eq!((english.error, english.document.language.as_deref()), (None, Some("en")));
        let mut declared = Input::text(Document { text: GERMAN.to_owned(), ..Document::default() });
        declared.document.language = Some("en".to_owned());
        Preparation { english_only: false }.apply(&mut declared);
        assert_eq!(declared.document.meta["declared_language"], "en");
        assert_eq!(prepared(" \n", true), Input::text(Document { text: " \n".to_owned(), ..Document::default() }));
    }
}
