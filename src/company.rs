//! Mentions → companies: which names in one document mean the same company.
//!
//! Names are compared by their *core*: lower-case words without legal suffix. Two names join when one core is a part of
//! the other (`DJI`, `SZ DJI Technology`), spells it without blanks, is its initials (`IBM`), or is given beside it in
//! brackets (`Volkswagen (VW)`); unless something contradicts it: two longer names that would claim the same short one
//! (`Samsung` beside `Samsung Electronics` and `Samsung Heavy Industries`), or a longer name that is a foundation or a
//! university. All look-ups are hashed by word, and a word that too many names share joins nothing, so that the work
//! grows with the number of names, not with its square.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::document::ByteSpan;
use crate::mention::clean_surface;

/// A company as a document names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Company {
    /// Core of the fullest name, for grouping across documents.
    pub key: String,
    /// Fullest form in the text.
    pub name: String,
    /// Other forms, in order of first appearance.
    pub aliases: Vec<String>,
}

/// The companies of a document, by first mention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Companies {
    /// Each once.
    pub companies: Vec<Company>,
    /// For every mention, in the order given, its position in `companies`.
    pub of_mention: Vec<usize>,
}

/// Last words of a name that say what kind of firm it is in law, not which.
const LEGAL: &[&str] = &[
    "ab",
    "ag",
    "as",
    "asa",
    "bhd",
    "bv",
    "co",
    "company",
    "companies",
    "corp",
    "corporation",
    "gmbh",
    "group",
    "holding",
    "holdings",
    "inc",
    "incorporated",
    "kg",
    "kgaa",
    "kk",
    "limited",
    "llc",
    "llp",
    "lp",
    "ltd",
    "nv",
    "oao",
    "ojsc",
    "oy",
    "oyj",
    "pao",
    "pjsc",
    "plc",
    "pt",
    "pte",
    "pty",
    "public",
    "sa",
    "sab",
    "sarl",
    "sas",
    "se",
    "spa",
    "srl",
    "tbk",
];

/// Words that make a longer name another thing than the company it begins with.
const INSTITUTIONS: &[&str] = &[
    "academy",
    "arena",
    "award",
    "awards",
    "center",
    "centre",
    "championship",
    "church",
    "college",
    "cup",
    "foundation",
    "hospital",
    "institute",
    "museum",
    "park",
    "prize",
    "school",
    "stadium",
    "theater",
    "theatre",
    "tower",
    "trust",
    "union",
    "university",
];

/// Words that alone name no company inside a longer name.
const GENERIC: &[&str] = &[
    "air",
    "airlines",
    "airways",
    "american",
    "automotive",
    "bank",
    "capital",
    "energy",
    "electronics",
    "financial",
    "first",
    "foods",
    "gas",
    "general",
    "global",
    "industries",
    "insurance",
    "international",
    "media",
    "motor",
    "motors",
    "national",
    "new",
    "oil",
    "partners",
    "pharma",
    "power",
    "royal",
    "services",
    "solutions",
    "steel",
    "systems",
    "technologies",
    "technology",
    "telecom",
    "united",
];

/// A word shared by more names than this joins none of them.
const MAX_NAMES_PER_WORD: usize = 64;

/// A distinct core with what was seen of it.
struct Form {
    words: Vec<String>,
    /// Words of the legal suffix that were cut off, for initials (`TSMC` counts its `Company`).
    suffix: Vec<String>,
    /// Surfaces in order of appearance, each once.
    surfaces: Vec<String>,
}

/// Groups the mentions of companies of one document, given in order of position.
#[must_use]
pub fn join_mentions(text: &str, mentions: &[ByteSpan]) -> Companies {
    let mut forms: Vec<Form> = Vec::new();
    let mut by_core: FxHashMap<String, usize> = FxHashMap::default();
    let mut known: FxHashSet<(usize, String)> = FxHashSet::default();
    let mut form_of_mention = Vec::with_capacity(mentions.len());
    for mention in mentions {
        let surface = clean_surface(mention.of(text));
        let (words, suffix) = core(&surface);
        let at = *by_core.entry(words.join(" ")).or_insert_with(|| {
            forms.push(Form { words, suffix: suffix.clone(), surfaces: Vec::new() });
            forms.len() - 1
        });
        if suffix.len() > forms[at].suffix.len() {
            forms[at].suffix = suffix;
        }
        if known.insert((at, surface.clone())) {
            forms[at].surfaces.push(surface);
        }
        form_of_mention.push(at);
    }
    let mut sets = DisjointSets::new(forms.len());
    join_spellings(&forms, &mut sets);
    join_bracketed(text, mentions, &form_of_mention, &forms, &mut sets);
    join_parts(&forms, &mut sets);
    join_initials(&forms, &mut sets);
    collect(&forms, &form_of_mention, &mut sets)
}

/// The core of a name, as in [`Company::key`]: lower-case words without legal suffix.
#[must_use]
pub fn key(name: &str) -> String {
    core(&clean_surface(name)).0.join(" ")
}

/// Core words and cut-off legal suffix of a name.
fn core(surface: &str) -> (Vec<String>, Vec<String>) {
    let lower = surface.to_lowercase().replace('’', "'");
    let stem = lower.strip_suffix("'s").unwrap_or(&lower);
    let mut words: Vec<String> = stem
        .split(|c: char| c.is_whitespace() || matches!(c, '-' | '‑' | '/' | ',' | '(' | ')' | '"' | '“' | '”'))
        .map(|w| w.chars().filter(|c| !matches!(c, '.' | '\'')).collect::<String>())
        .filter(|w| !w.is_empty())
        .collect();
    if words.len() > 1 && words[0] == "the" {
        words.remove(0);
    }
    let mut suffix = Vec::new();
    while words.len() > 1 && words.last().is_some_and(|w| LEGAL.contains(&w.as_str()) || w == "&" || w == "and") {
        suffix.extend(words.pop());
    }
    suffix.reverse();
    if words.is_empty() {
        words.push(lower);
    }
    (words, suffix)
}

/// `JPMorgan` and `JP Morgan`: the same letters without blanks.
fn join_spellings(forms: &[Form], sets: &mut DisjointSets) {
    let mut seen: FxHashMap<String, usize> = FxHashMap::default();
    for (at, form) in forms.iter().enumerate() {
        let first = *seen.entry(form.words.concat()).or_insert(at);
        sets.join(first, at);
    }
}

/// `Volkswagen (VW)`: a short name in brackets straight after a longer one whose letters it takes, in order.
fn join_bracketed(text: &str, mentions: &[ByteSpan], form_of: &[usize], forms: &[Form], sets: &mut DisjointSets) {
    for (at, pair) in mentions.windows(2).enumerate() {
        let between = text.get(pair[0].end()..pair[1].start()).unwrap_or("");
        let closed = text[pair[1].end()..].trim_start_matches(['"', '”', '’', '\'']).starts_with(')');
        if !closed || between.trim_matches(['"', '“', '‘', '\'']).trim() != "(" {
            continue;
        }
        let (long, short) = (&forms[form_of[at]], &forms[form_of[at + 1]]);
        let (letters, abbreviation) = (long.words.concat(), short.words.concat());
        let full = letters + &long.suffix.concat();
        if short.words.len() == 1 && abbreviation.chars().count() <= 6 && takes_letters(&full, &abbreviation) {
            sets.join(form_of[at], form_of[at + 1]);
        }
    }
}

/// True if `short` begins as `long` does and its letters occur in `long` in order.
fn takes_letters(long: &str, short: &str) -> bool {
    let mut rest = long.chars();
    long.chars().next() == short.chars().next() && short.chars().all(|c| rest.any(|l| l == c))
}

/// Joins a name to the longer one that holds it, the longest names first.
fn join_parts(forms: &[Form], sets: &mut DisjointSets) {
    let mut by_word: FxHashMap<&str, Vec<usize>> = FxHashMap::default();
    for (at, form) in forms.iter().enumerate() {
        for word in &form.words {
            let holders = by_word.entry(word).or_default();
            if holders.last() != Some(&at) {
                holders.push(at);
            }
        }
    }
    let cores: FxHashMap<&[String], usize> = forms.iter().enumerate().map(|(at, f)| (&f.words[..], at)).collect();
    let mut order: Vec<usize> = (0..forms.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(forms[at].words.len()));
    for at in order {
        let short = &forms[at].words;
        let Some(holders) = by_word.get(short[0].as_str()).filter(|h| h.len() <= MAX_NAMES_PER_WORD) else { continue };
        let places = holders.iter().filter_map(|&long| Some((long, place_in(short, &forms[long].words)?)));
        let (heads, inner): (Vec<_>, Vec<_>) = places.partition(|&(_, place)| place == 0);
        let heads: Vec<usize> = heads.into_iter().map(|(long, _)| long).collect();
        // The words before a later part may be a company of their own, as in `Fiat Chrysler`.
        let inner = inner.into_iter().filter(|&(long, place)| !cores.contains_key(&forms[long].words[..place]));
        let inner: Vec<usize> = inner.map(|(long, _)| long).collect();
        for candidates in [heads, inner] {
            if let Some(&first) = candidates.first() {
                if candidates.iter().all(|&c| sets.root(c) == sets.root(first)) {
                    sets.join(at, first);
                }
                break;
            }
        }
    }
}

/// Where `short` stands in the longer name `long`, in words, if it can be a short form of it.
fn place_in(short: &[String], long: &[String]) -> Option<usize> {
    if short.len() >= long.len() {
        return None;
    }
    let place = long.windows(short.len()).position(|part| part == short)?;
    let generic = |word: &String| GENERIC.contains(&word.as_str());
    if place > 0 && (short.iter().all(generic) || short.concat().chars().count() < 3) {
        return None;
    }
    let rest = long[..place].iter().chain(&long[place + short.len()..]);
    let other_thing = rest.clone().any(|word| INSTITUTIONS.contains(&word.as_str()));
    (!other_thing).then_some(place)
}

/// Joins `IBM` to `International Business Machines`, `TSMC` to `Taiwan Semiconductor Manufacturing Company`.
fn join_initials(forms: &[Form], sets: &mut DisjointSets) {
    let mut by_initials: FxHashMap<String, Vec<usize>> = FxHashMap::default();
    for (at, form) in forms.iter().enumerate().filter(|(_, f)| f.words.len() + f.suffix.len() > 1) {
        let all = |words: &[String]| words.iter().filter_map(|w| w.chars().next()).collect::<String>();
        let telling = |words: &[String]| {
            let small = |w: &String| matches!(w.as_str(), "of" | "and" | "the" | "&" | "for" | "de");
            words.iter().filter(|w| !small(w)).filter_map(|w| w.chars().next()).collect::<String>()
        };
        let short = telling(&form.words);
        let mut spellings = vec![short.clone() + &telling(&form.suffix), all(&form.words), short];
        spellings.sort_unstable();
        spellings.dedup();
        for spelling in spellings {
            by_initials.entry(spelling).or_default().push(at);
        }
    }
    for (at, form) in forms.iter().enumerate() {
        let capitals = form.surfaces.iter().any(|s| s.chars().filter(|c| c.is_alphabetic()).all(char::is_uppercase));
        if form.words.len() != 1 || !capitals || form.words[0].chars().count() < 2 {
            continue;
        }
        let Some(candidates) = by_initials.get(&form.words[0]) else { continue };
        if candidates.iter().all(|&c| sets.root(c) == sets.root(candidates[0])) {
            sets.join(at, candidates[0]);
        }
    }
}

fn collect(forms: &[Form], form_of_mention: &[usize], sets: &mut DisjointSets) -> Companies {
    let mut position: FxHashMap<usize, usize> = FxHashMap::default();
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut of_mention = Vec::with_capacity(form_of_mention.len());
    let mut placed = vec![false; forms.len()];
    for &form in form_of_mention {
        let at = *position.entry(sets.root(form)).or_insert_with(|| {
            members.push(Vec::new());
            members.len() - 1
        });
        if !placed[form] {
            placed[form] = true;
            members[at].push(form);
        }
        of_mention.push(at);
    }
    Companies { companies: members.iter().map(|m| describe(forms, m)).collect(), of_mention }
}

/// The fullest name of a group of forms, and the others.
fn describe(forms: &[Form], members: &[usize]) -> Company {
    let fullness = |form: &Form, surface: &str| {
        let mixed_case = surface.chars().any(char::is_lowercase);
        (form.words.len() + form.suffix.len(), mixed_case, surface.chars().count())
    };
    let all = members.iter().flat_map(|&at| forms[at].surfaces.iter().map(move |s| (&forms[at], s)));
    let mut best: Option<(&Form, &String)> = None;
    for (form, surface) in all.clone() {
        if best.is_none_or(|(f, s)| fullness(form, surface) > fullness(f, s)) {
            best = Some((form, surface));
        }
    }
    let (form, name) = best.expect("a company has a mention, and a mention a form");
    let aliases = all.filter(|(_, s)| *s != name).map(|(_, s)| s.clone()).collect();
    Company { key: form.words.join(" "), name: name.clone(), aliases }
}

/// Union-find with path halving (Tarjan 1975); the smaller number is the root.
struct DisjointSets {
    parent: Vec<usize>,
}

impl DisjointSets {
    fn new(len: usize) -> Self {
        DisjointSets { parent: (0..len).collect() }
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of the names, each name a mention, `|` between mentions that are only separated by blanks.
    fn groups(names: &[&str]) -> Vec<Vec<String>> {
        let text = names.join(" | ");
        let mut at = 0;
        let spans: Vec<ByteSpan> = names
            .iter()
            .map(|name| {
                let span = ByteSpan::new(at, at + name.len());
                at += name.len() + 3;
                span
            })
            .collect();
        let joined = join_mentions(&text, &spans);
        let mut groups = vec![Vec::new(); joined.companies.len()];
        for (name, company) in names.iter().zip(joined.of_mention) {
            groups[company].push((*name).to_owned());
        }
        groups
    }

    #[test]
    fn joins_the_names_of_one_company() {
        let same: &[&[&str]] = &[
            &["SZ DJI Technology", "DJI"],
            &["DJI", "SZ DJI Technology Co. Ltd."],
            &["Samsung", "Samsung Electronics", "Samsung Electronics Co., Ltd."],
            &["Lenovo Group", "Lenovo", "LENOVO", "Lenovo's"],
            &["International Business Machines Corp.", "IBM"],
            &["Taiwan Semiconductor Manufacturing Co", "TSMC"],
            &["J.P. Morgan", "JPMorgan", "JP Morgan"],
            &["Royal Dutch Shell plc", "Shell"],
            &["The Coca-Cola Company", "Coca-Cola", "Coca Cola"],
            &["General Motors Co", "GM", "General Motors"],
            &["AT&T Inc", "AT&T"],
            &["Procter & Gamble Co.", "P&G", "Procter & Gamble"],
        ];
        let failures: Vec<_> = same.iter().map(|names| groups(names)).filter(|g| g.len() != 1).collect();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn keeps_apart_what_only_looks_alike() {
        let apart: &[&[&str]] = &[
            &["Ford", "Ford Foundation"],
            &["Samsung", "Samsung Electronics", "Samsung Heavy Industries"],
            &["Bank of America", "Bank of China"],
            &["Orange", "Apple"],
            &["Delta Air Lines", "United Air"],
            &["GE", "Google"],
        ];
        for names in apart {
            assert_eq!(groups(names).len(), names.len(), "{names:?}");
        }
        assert_eq!(groups(&["Fiat Chrysler", "Fiat", "Chrysler"]).len(), 2);
    }

    #[test]
    fn a_bracketed_abbreviation_is_the_same_company() {
        let text = "Volkswagen (VW) and Toyota (NYSE) and Deutsche Telekom (\"DT\")";
        let spans: Vec<ByteSpan> = ["Volkswagen", "VW", "Toyota", "NYSE", "Deutsche Telekom", "DT"]
            .iter()
            .map(|n| text.find(n).map(|at| ByteSpan::new(at, at + n.len())).expect("named"))
            .collect();
        assert_eq!(join_mentions(text, &spans).of_mention, [0, 0, 1, 2, 3, 3]);
    }

    #[test]
    fn the_fullest_form_is_the_name() {
        let text = "DJI SZ DJI Technology dji";
        let spans = [ByteSpan::new(0, 3), ByteSpan::new(4, 21), ByteSpan::new(22, 25)];
        let joined = join_mentions(text, &spans);
        assert_eq!(joined.companies.len(), 1);
        assert_eq!(joined.companies[0].name, "SZ DJI Technology");
        assert_eq!(joined.companies[0].aliases, ["DJI", "dji"]);
        assert_eq!(joined.companies[0].key, "sz dji technology");
    }

    #[test]
    fn a_hundred_thousand_names_take_no_time_to_speak_of() {
        let names: Vec<String> = (0..100_000).map(|n| format!("Alpha{} Beta{n}", n % 7)).collect();
        let text = names.join("\n");
        let mut at = 0;
        let spans: Vec<ByteSpan> = names
            .iter()
            .map(|n| {
                at += n.len() + 1;
                ByteSpan::new(at - n.len() - 1, at - 1)
            })
            .collect();
        let start = std::time::Instant::now();
        assert_eq!(join_mentions(&text, &spans).companies.len(), 100_000);
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }
}
