//! Documents → outcomes: the stages in order, for a group of documents that share the encoder's batches.
//!
//! A document of up to [`SECTION_WINDOWS`] windows is seen whole. A longer one goes through in sections, so that its
//! hidden states never have to be held together: each section is scored with the companies it names itself, and the
//! scores are added up under the companies of the whole document.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::{Array1, Array2, ArrayView2};

use crate::batch::{Batch, plan_batches};
use crate::company::{Companies, join_mentions};
use crate::document::{ByteSpan, Document, DocumentError, Input};
use crate::engine::kernel::Kernel;
use crate::engine::model_file::{Model, ModelError};
use crate::engine::{Engine, Hidden};
use crate::mention::{EntityHead, EntityLabel, Mention};
use crate::record::{CompanyStance, Evidence, Outcome, Stance};
use crate::stance::{Presence, SentenceScore, StanceHead, company_vector, pool};
use crate::text::EncodedText;
use crate::text::window::Window;

/// Windows of one document that are encoded together at most: some 16,000 tokens, more than nearly any article.
pub const SECTION_WINDOWS: usize = 64;

/// The heads of a model, shared by all workers.
pub struct Heads {
    entity: EntityHead,
    stance: StanceHead,
}

impl Heads {
    /// Reads both heads, to run on `kernel`, which this CPU must have.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if a tensor is missing or of another shape.
    pub fn read(model: &Model, kernel: Kernel) -> Result<Self, ModelError> {
        Ok(Heads { entity: EntityHead::read(model, kernel)?, stance: StanceHead::read(model, kernel)? })
    }
}

/// What became of one document, and at what cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Its companies, or why there are none.
    pub outcome: Outcome,
    /// Encoder tokens, special tokens included.
    pub tokens: usize,
}

/// Where an analyzer's time has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Sentences, word pieces, windows.
    pub tokenize: Duration,
    /// The encoder.
    pub encode: Duration,
    /// Both heads, the joining of names, pooling.
    pub heads: Duration,
}

/// Analyses documents with one engine; belongs to one worker.
pub struct Analyzer {
    model: Arc<Model>,
    heads: Arc<Heads>,
    engine: Box<dyn Engine>,
    batch_tokens: usize,
    times: StageTimes,
}

/// What is kept of a window after its hidden states are gone.
#[derive(Default)]
struct Gathered {
    mentions: Vec<Mention>,
    /// Companies as single sections see them.
    companies: Vec<SectionCompany>,
}

/// A company as one section of a document sees it.
#[derive(Clone, Default)]
struct SectionCompany {
    /// Numbers of its mentions in the document.
    mentions: Vec<usize>,
    /// What sentences say about it, by number of the window. A long sentence is scored once per window.
    scores: Vec<(usize, SentenceScore)>,
}

impl Analyzer {
    /// An analyzer over `engine`, whose batches hold at most `batch_tokens` tokens (or one window).
    #[must_use]
    pub fn new(model: Arc<Model>, heads: Arc<Heads>, engine: Box<dyn Engine>, batch_tokens: usize) -> Self {
        Analyzer { model, heads, engine, batch_tokens, times: StageTimes::default() }
    }

    /// Where the time of all documents so far has gone.
    #[must_use]
    pub fn times(&self) -> StageTimes {
        self.times
    }

    /// Analyses `inputs`; one analysis each, in their order, whatever happens to them.
    pub fn analyze(&mut self, inputs: &[Input]) -> Vec<Analysis> {
        let model = Arc::clone(&self.model);
        let encode = |input: &Input| {
            let unread = input.error.is_some() || input.document.text.trim().is_empty();
            (!unread).then(|| model.text().encode(&input.document.text))
        };
        let start = Instant::now();
        let encoded: Vec<_> = inputs.iter().map(encode).collect();
        let (tokenized, encoding) = (Instant::now(), self.times.encode);
        self.times.tokenize += tokenized - start;
        let usable: Vec<Option<&EncodedText>> = encoded.iter().map(|e| e.as_ref()?.as_ref().ok()).collect();
        let gathered = self.gather(inputs, &usable);
        let mut analyses = Vec::with_capacity(inputs.len());
        for ((input, encoding), gathered) in inputs.iter().zip(&encoded).zip(gathered) {
            let tokens = match encoding {
                Some(Ok(encoded)) => encoded.windows.iter().map(Window::len).sum(),
                _ => 0,
            };
            let outcome = match (&input.error, encoding, gathered) {
                (Some(error), ..) => Outcome::Error(error.clone()),
                (None, None, _) => Outcome::Empty,
                (None, Some(Ok(encoded)), Ok(gathered)) => {
                    Outcome::Ok(self.describe(&input.document, encoded, gathered))
                }
                (None, Some(Err(error)), _) => failed(error.to_string()),
                (None, _, Err(message)) => failed(message),
            };
            analyses.push(Analysis { outcome, tokens });
        }
        self.times.heads += tokenized.elapsed().saturating_sub(self.times.encode - encoding);
        analyses
    }

    /// Runs encoder and heads over all documents; documents of one section share batches.
    fn gather(&mut self, inputs: &[Input], encoded: &[Option<&EncodedText>]) -> Vec<Result<Gathered, String>> {
        let mut gathered: Vec<_> = inputs.iter().map(|_| Ok(Gathered::default())).collect();
        let sections = encoded.iter().enumerate().flat_map(|(doc, encoding)| {
            let windows = encoding.map_or(0, |e| e.windows.len());
            (0..windows).step_by(SECTION_WINDOWS).map(move |from| (doc, from..windows.min(from + SECTION_WINDOWS)))
        });
        let most = SECTION_WINDOWS.max(self.batch_tokens / self.model.card().max_tokens);
        let (mut shared, mut windows) = (Vec::new(), 0);
        for (doc, range) in sections {
            if windows + range.len() > most {
                self.run_sections(inputs, encoded, &std::mem::take(&mut shared), &mut gathered);
                windows = 0;
            }
            windows += range.len();
            shared.push((doc, range));
        }
        self.run_sections(inputs, encoded, &shared, &mut gathered);
        gathered
    }

    /// Encodes sections of documents together and scores each.
    fn run_sections(
        &mut self,
        inputs: &[Input],
        encoded: &[Option<&EncodedText>],
        sections: &[(usize, Range<usize>)],
        gathered: &mut [Result<Gathered, String>],
    ) {
        let text_of = |doc: usize| encoded[doc].expect("only encoded documents have sections");
        let windows: Vec<_> =
            sections.iter().flat_map(|(doc, range)| text_of(*doc).windows[range.clone()].iter()).collect();
        let mut states: Vec<Option<Array2<f32>>> = vec![None; windows.len()];
        let mut hidden = Hidden::default();
        let mut failure = String::new();
        for positions in plan_batches(&windows, self.batch_tokens) {
            let batch = Batch::new(positions.iter().map(|&at| windows[at]).collect());
            let start = Instant::now();
            let ran = self.engine.run(&batch, &mut hidden);
            self.times.encode += start.elapsed();
            match ran {
                Ok(()) => {
                    for (packed, &at) in positions.iter().enumerate() {
                        states[at] = Some(hidden.window(&batch, packed).to_owned());
                    }
                }
                Err(error) => failure = error.to_string(),
            }
        }
        let mut next = 0;
        for (doc, range) in sections {
            let own = &states[next..next + range.len()];
            next += range.len();
            let views: Option<Vec<ArrayView2<'_, f32>>> = own.iter().map(|s| Some(s.as_ref()?.view())).collect();
            match (views, &mut gathered[*doc]) {
                (Some(views), Ok(sofar)) => {
                    self.score_section(&inputs[*doc].document.text, text_of(*doc), range.clone(), &views, sofar);
                }
                // Without all of its windows a document has failed, however many of a batch share that fate.
                (None, outcome) => *outcome = Err(failure.clone()),
                (Some(_), Err(_)) => {}
            }
        }
    }

    /// Finds the mentions of a section, its companies, and what its sentences say about them.
    fn score_section(
        &self,
        text: &str,
        encoded: &EncodedText,
        section: Range<usize>,
        hidden: &[ArrayView2<'_, f32>],
        gathered: &mut Gathered,
    ) {
        let first_mention = gathered.mentions.len();
        for (at, states) in section.clone().zip(hidden) {
            gathered.mentions.extend(self.heads.entity.mentions(text, encoded, at, *states));
        }
        let named: Vec<usize> = (first_mention..gathered.mentions.len())
            .filter(|&at| gathered.mentions[at].label == EntityLabel::Company)
            .collect();
        let spans: Vec<ByteSpan> = named.iter().map(|&at| gathered.mentions[at].span).collect();
        let companies = join_mentions(text, &spans);
        let mut seen = vec![SectionCompany::default(); companies.companies.len()];
        let mut rows: Vec<BTreeMap<usize, Vec<Range<usize>>>> = vec![BTreeMap::new(); section.len()];
        for (&mention, &company) in named.iter().zip(&companies.of_mention) {
            seen[company].mentions.push(mention);
            let Mention { window, rows: at, .. } = &gathered.mentions[mention];
            rows[window - section.start].entry(company).or_default().push(at.clone());
        }
        let carry_windows = self.model.card().carry_windows;
        let mut carried: BTreeMap<usize, (usize, Array1<f32>)> = BTreeMap::new();
        for ((at, states), named_here) in section.zip(hidden).zip(rows) {
            carried.retain(|_, (from, _)| at - *from <= carry_windows);
            let fresh: Vec<_> = named_here
                .iter()
                .map(|(&company, mentions)| (company, (at, company_vector(*states, mentions))))
                .collect();
            let absent = carried.iter().filter(|(company, _)| !named_here.contains_key(company));
            let (present, presences): (Vec<usize>, Vec<Presence>) = absent
                .map(|(&company, (_, vector))| (company, Presence::Carried(vector.clone())))
                .chain(named_here.iter().map(|(&company, mentions)| (company, Presence::Named(mentions.clone()))))
                .unzip();
            let scores = self.heads.stance.score(&encoded.windows[at], *states, &presences);
            for (company, scores) in present.into_iter().zip(scores) {
                seen[company].scores.extend(scores.into_iter().map(|score| (at, score)));
            }
            carried.extend(fresh);
        }
        gathered.companies.append(&mut seen);
    }

    /// The companies of a whole document, from what its sections left.
    fn describe(&self, document: &Document, encoded: &EncodedText, gathered: Gathered) -> Vec<CompanyStance> {
        let text = document.text.as_str();
        let named: Vec<usize> =
            (0..gathered.mentions.len()).filter(|&at| gathered.mentions[at].label == EntityLabel::Company).collect();
        let spans: Vec<ByteSpan> = named.iter().map(|&at| gathered.mentions[at].span).collect();
        let Companies { companies, of_mention } = join_mentions(text, &spans);
        let mut mentions: Vec<Vec<ByteSpan>> = vec![Vec::new(); companies.len()];
        let mut company_of: BTreeMap<usize, usize> = BTreeMap::new();
        for ((&mention, span), company) in named.iter().zip(spans).zip(of_mention) {
            mentions[company].push(span);
            company_of.insert(mention, company);
        }
        let scores = share_scores(gathered.companies, &company_of, companies.len());
        let places = Places::of(document, &gathered.mentions);
        let calibration = self.model.card().calibration;
        let parts = companies.into_iter().zip(mentions).zip(scores);
        parts
            .map(|((company, mentions), scores)| {
                let probabilities = pool(&scores, calibration.temperature);
                let stance = likeliest(&probabilities);
                let evidence = evidence(&encoded.sentences, &scores, stance, calibration.evidence);
                let markets = places.named_in(text, &evidence);
                let (key, name, aliases) = (company.key, company.name, company.aliases);
                CompanyStance { key, name, aliases, stance, probabilities, markets, mentions, evidence }
            })
            .collect()
    }
}

/// What sentences say about each of the document's companies.
///
/// A section may join names that the whole document keeps apart, or the reverse: every company of the document with a
/// mention in a section's company has its scores, and of two about one sentence the more outspoken counts.
fn share_scores(
    sections: Vec<SectionCompany>,
    company_of: &BTreeMap<usize, usize>,
    companies: usize,
) -> Vec<Vec<SentenceScore>> {
    let mut scores: Vec<Vec<(usize, SentenceScore)>> = vec![Vec::new(); companies];
    for section in sections {
        let owners: BTreeSet<usize> = section.mentions.iter().filter_map(|m| company_of.get(m).copied()).collect();
        for owner in owners {
            scores[owner].extend(&section.scores);
        }
    }
    let outspoken = |score: &SentenceScore| score.margins().into_iter().fold(f32::NEG_INFINITY, f32::max);
    let distinct = |mut of_company: Vec<(usize, SentenceScore)>| {
        of_company.sort_by(|(w, a), (v, b)| {
            (w, a.sentence).cmp(&(v, b.sentence)).then_with(|| outspoken(b).total_cmp(&outspoken(a)))
        });
        of_company.dedup_by_key(|(window, score)| (*window, score.sentence));
        of_company.into_iter().map(|(_, score)| score).collect()
    };
    scores.into_iter().map(distinct).collect()
}

fn failed(message: String) -> Outcome {
    Outcome::Error(DocumentError { kind: "engine", message, skipped: false })
}

fn likeliest(probabilities: &[f32; 4]) -> Stance {
    let mut best = Stance::Silent;
    for stance in Stance::ALL {
        if probabilities[stance as usize] > probabilities[best as usize] {
            best = stance;
        }
    }
    best
}

/// The sentences that say `stance`, with at least the probability `least`, by position; the likeliest one when none does. A
/// company is silent without any sentence, so for `silent` only those that say so outright count.
fn evidence(sentences: &[ByteSpan], scores: &[SentenceScore], stance: Stance, least: f32) -> Vec<Evidence> {
    let as_evidence = |score: &SentenceScore| Evidence {
        sentence: sentences[score.sentence],
        stance,
        confidence: score.probability(stance),
    };
    let said = scores.iter().filter(|s| s.verdict() == Some(stance)).map(as_evidence);
    let mut found: Vec<Evidence> = said.filter(|e| e.confidence >= least).collect();
    if found.is_empty() && stance != Stance::Silent {
        found.extend(scores.iter().map(as_evidence).reduce(|a, b| if b.confidence > a.confidence { b } else { a }));
    }
    // A long sentence is scored in parts; its strongest part speaks for it.
    found.sort_by(|a, b| a.sentence.cmp(&b.sentence).then(b.confidence.total_cmp(&a.confidence)));
    found.dedup_by_key(|e| e.sentence);
    found
}

/// The places that a document names, to say which markets the evidence is about.
struct Places {
    /// In order of position.
    spans: Vec<ByteSpan>,
    /// The headline, if the text begins with one.
    title: Option<ByteSpan>,
}

impl Places {
    fn of(document: &Document, mentions: &[Mention]) -> Self {
        let places = mentions.iter().filter(|m| m.label == EntityLabel::Place).map(|m| m.span).collect();
        let titled = document.title.as_ref().filter(|t| document.text.starts_with(t.as_str())).map(String::len);
        Places { spans: places, title: titled.map(|len| ByteSpan::new(0, len)) }
    }

    /// Names of the places in the evidence, else in the title; each once, in order.
    fn named_in(&self, text: &str, evidence: &[Evidence]) -> Vec<String> {
        let within = |span: ByteSpan| {
            let from = self.spans.partition_point(|p| p.start() < span.start());
            self.spans[from..].iter().take_while(move |p| p.end() <= span.end())
        };
        let distinct = |spans: &mut dyn Iterator<Item = &ByteSpan>| {
            let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
            for span in spans {
                let name = crate::mention::clean_surface(span.of(text));
                if seen.insert(name.to_lowercase()) {
                    names.push(name);
                }
            }
            names
        };
        let named = distinct(&mut evidence.iter().flat_map(|e| within(e.sentence)));
        if named.is_empty() { distinct(&mut self.title.iter().flat_map(|&t| within(t))) } else { named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;
    use crate::stance::SentenceScore;

    /// Fails at every batch that holds a window longer than `limit`.
    struct Broken {
        limit: usize,
        width: usize,
    }

    impl Engine for Broken {
        fn run(&mut self, batch: &Batch<'_>, out: &mut Hidden) -> Result<(), EngineError> {
            out.reset(batch.rows(), self.width);
            match batch.windows().iter().map(|w| w.len()).find(|len| *len > self.limit) {
                Some(len) => Err(EngineError::TooLong { len, limit: self.limit }),
                None => Ok(()),
            }
        }
    }

    #[test]
    fn every_document_of_a_failed_batch_has_failed() {
        let model = Arc::new(Model::embedded().expect("the model"));
        let heads = Arc::new(Heads::read(&model, Kernel::best()).expect("heads"));
        let input = |text: &str| Input::text(Document { text: text.to_owned(), ..Document::default() });
        let long = "Acme said that it would leave Freedonia for good. ".repeat(4);
        let inputs = [input(&long), input("Short."), input(&long), input(" ")];
        let statuses = |batch_tokens: usize| -> Vec<&'static str> {
            let engine = Box::new(Broken { limit: 20, width: model.config().hidden_size });
            let analyses = Analyzer::new(Arc::clone(&model), Arc::clone(&heads), engine, batch_tokens).analyze(&inputs);
            let name = |a: Analysis| match a.outcome {
                Outcome::Ok(_) => "ok",
                Outcome::Empty => "empty",
                Outcome::Error(error) => error.kind,
            };
            analyses.into_iter().map(name).collect()
        };
        assert_eq!(statuses(4096), ["engine", "engine", "engine", "empty"], "all share one batch");
        assert_eq!(statuses(1), ["engine", "ok", "engine", "empty"], "each window is a batch");
    }

    #[test]
    fn evidence_is_said_with_enough_certainty_or_is_the_likeliest() {
        let sentences = [0, 10, 20].map(|at| ByteSpan::new(at, at + 5));
        let score =
            |sentence, halted, no_comment| SentenceScore { sentence, logits: [0.0, halted, 0.0, 0.0, no_comment] };
        let of = |stance, least| -> Vec<usize> {
            let scores = [score(0, 1.5, 0.0), score(1, 4.0, 0.0), score(2, -5.0, 2.0)];
            evidence(&sentences, &scores, stance, least).iter().map(|e| e.sentence.start()).collect()
        };
        assert_eq!(of(Stance::Halted, 0.0), [0, 10]);
        assert_eq!(of(Stance::Halted, 0.8), [10], "the first says it with probability 0.53");
        assert_eq!(of(Stance::Halted, 0.99), [10], "the likeliest is always evidence");
        assert_eq!(of(Stance::Continuing, 0.0), [0], "and where none says it outright");
        assert_eq!(of(Stance::Silent, 0.6), [20]);
        assert_eq!(of(Stance::Silent, 0.99), [0; 0], "silence needs none");
    }

    #[test]
    fn scores_of_a_section_reach_every_company_named_in_it() {
        let score = |sentence, halted| SentenceScore { sentence, logits: [0.0, halted, 0.0, 0.0, -9.0] };
        let sections = vec![
            SectionCompany { mentions: vec![0, 1], scores: vec![(0, score(0, 3.0)), (0, score(1, 0.0))] },
            SectionCompany { mentions: vec![2], scores: vec![(0, score(1, 2.0)), (1, score(2, 1.0))] },
        ];
        // The section joined mentions 0 and 1, which the document keeps apart; 1 and 2 it joins.
        let shared = share_scores(sections, &BTreeMap::from([(0, 0), (1, 1), (2, 1)]), 2);
        assert_eq!(shared[0], [score(0, 3.0), score(1, 0.0)]);
        assert_eq!(shared[1], [score(0, 3.0), score(1, 2.0), score(2, 1.0)], "a sentence counts once");
    }
}
