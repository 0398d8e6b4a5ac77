//! HTML → what its tags say of the page, and whether it is fit to be built as a tree.
//!
//! The main text is found on trees of the page, with work that grows faster than the page where elements are nested or
//! one tag has very many attributes. So the page first goes piece by piece through the same parser with a tree that is
//! only counted, and is given up as soon as it is beyond a limit.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use html5ever::TokenizerResult;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Token, TokenSink, TokenSinkResult, Tokenizer};
use html5ever::tree_builder::{ElementFlags, NodeOrText, QuirksMode, TreeBuilder, TreeSink};
use html5ever::{Attribute, ExpandedName, QualName, local_name, ns};

use super::metadata::Metadata;

/// Elements within elements; browsers stop at 512.
const MAX_DEPTH: u32 = 512;
/// Elements and comments; a long live blog has some 50,000.
const MAX_NODES: usize = 150_000;
/// Bytes of text times the depth of each, which is what it costs to measure the text of every element.
const MAX_COST: usize = 500_000_000;
/// Bytes of text that an element or a comment costs as much as.
const NODE_COST: usize = 50;
/// Attributes of one tag; the parser compares each with all before it.
const MAX_ATTRIBUTES: usize = 1_000;
/// Bytes given to the parser between two looks at the counts.
const PIECE: usize = 4096;

/// The metadata of `html`; an error if its tree would be beyond the limits.
pub(super) fn scan(html: &str) -> Result<Metadata, String> {
    let watch = Watch {
        builder: TreeBuilder::new(Counter::default(), Default::default()),
        metadata: RefCell::default(),
        tokens: Cell::new(0),
        attributes: Cell::new(0),
    };
    let tokenizer = Tokenizer::new(watch, Default::default());
    let input = BufferQueue::default();
    let mut attributes = Attributes::default();
    // While no token comes: whether what is not complete is a tag.
    let mut silent: Option<bool> = None;
    for (is_tag, piece) in pieces(html) {
        let is_tag = silent.unwrap_or(is_tag);
        if piece.starts_with('<') && silent != Some(true) {
            attributes = Attributes::default();
        }
        attributes.count(piece);
        if silent == Some(true) && attributes.count > MAX_ATTRIBUTES {
            return Err(TOO_MANY_ATTRIBUTES.to_owned());
        }
        let tokens = tokenizer.sink.tokens.get();
        input.push_back(StrTendril::from_slice(piece));
        while !matches!(tokenizer.feed(&input), TokenizerResult::Done) {}
        silent = (tokenizer.sink.tokens.get() == tokens).then_some(is_tag);
        tokenizer.sink.check()?;
    }
    tokenizer.end();
    tokenizer.sink.check()?;
    Ok(tokenizer.sink.metadata.take())
}

const TOO_MANY_ATTRIBUTES: &str = "a tag with too many attributes; leave this page out";

/// `html` cut before every `<` and after [`PIECE`] bytes, each piece with whether the last `<` may begin a tag.
pub(super) fn pieces(html: &str) -> impl Iterator<Item = (bool, &str)> {
    let (mut rest, mut is_tag) = (html, false);
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        if first == '<' {
            is_tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        }
        let most = (1..=rest.len().min(PIECE)).rev().find(|&at| rest.is_char_boundary(at))?;
        let end = rest[..most].bytes().skip(1).position(|b| b == b'<').map_or(most, |at| at + 1);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some((is_tag, piece))
    })
}

/// How many attributes a tag has so far, by the states in which the parser goes through it.
#[derive(Default)]
struct Attributes {
    place: Place,
    count: usize,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    TagName,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Quoted(u8),
    Unquoted,
    AfterTag,
}

impl Attributes {
    /// Goes on through `piece` of the tag, up to its end.
    fn count(&mut self, piece: &str) {
        for byte in piece.bytes() {
            let is_space = byte.is_ascii_whitespace();
            self.place = match (self.place, byte) {
                (Place::AfterTag, _) => return,
                (Place::Quoted(quote), _) if byte == quote => Place::BeforeName,
                (Place::Quoted(_), _) => continue,
                (Place::BeforeValue, b'"' | b'\'') => Place::Quoted(byte),
                (_, b'>') => Place::AfterTag,
                (Place::BeforeValue, _) if is_space => continue,
                (Place::BeforeValue, _) => Place::Unquoted,
                (Place::Unquoted, _) if is_space => Place::BeforeName,
                (Place::Unquoted, _) => continue,
                (Place::Name | Place::AfterName, b'=') => Place::BeforeValue,
                (_, b'/') => Place::BeforeName,
                (Place::Name | Place::AfterName, _) if is_space => Place::AfterName,
                (Place::TagName | Place::BeforeName, _) if is_space => Place::BeforeName,
                (Place::BeforeName | Place::AfterName, _) => {
                    self.count += 1;
                    Place::Name
                }
                (Place::TagName | Place::Name, _) => continue,
            };
        }
    }
}

/// Passes tokens on to the tree builder and looks at them.
struct Watch {
    builder: TreeBuilder<Rc<Node>, Counter>,
    metadata: RefCell<Metadata>,
    tokens: Cell<u64>,
    /// The most that one tag had.
    attributes: Cell<usize>,
}

impl Watch {
    fn check(&self) -> Result<(), String> {
        let counter = &self.builder.sink;
        if counter.depth.get() > MAX_DEPTH {
            return Err(format!("elements nested more than {MAX_DEPTH} deep; leave this page out"));
        }
        if counter.nodes.get() > MAX_NODES || counter.cost.get() > MAX_COST {
            return Err("more elements than an article has; leave this page out".to_owned());
        }
        if self.attributes.get() > MAX_ATTRIBUTES {
            return Err(TOO_MANY_ATTRIBUTES.to_owned());
        }
        Ok(())
    }
}

impl TokenSink for Watch {
    type Handle = Rc<Node>;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<Rc<Node>> {
        if !matches!(token, Token::ParseError(_)) {
            self.tokens.set(self.tokens.get() + 1);
        }
        if let Token::TagToken(tag) = &token {
            self.attributes.set(self.attributes.get().max(tag.attrs.len()));
        }
        self.metadata.borrow_mut().see(&token);
        self.builder.process_token(token, line)
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// A node of the tree that is not built: what the tree builder asks about, and how deep it is.
struct Node {
    name: QualName,
    depth: Cell<u32>,
    /// What a `template` holds.
    contents: Option<Rc<Node>>,
}

impl Node {
    fn new(name: Option<QualName>, is_template: bool) -> Rc<Node> {
        let name = name.unwrap_or_else(|| QualName::new(None, ns!(), local_name!("")));
        let contents = is_template.then(|| Node::new(None, false));
        Rc::new(Node { name, depth: Cell::new(0), contents })
    }
}

/// Counts the nodes of a tree.
struct Counter {
    document: Rc<Node>,
    nodes: Cell<usize>,
    /// Of the deepest node.
    depth: Cell<u32>,
    cost: Cell<usize>,
}

impl Default for Counter {
    fn default() -> Self {
        Counter { document: Node::new(None, false), nodes: Cell::new(0), depth: Cell::new(0), cost: Cell::new(0) }
    }
}

impl Counter {
    fn count(&self, name: Option<QualName>, is_template: bool) -> Rc<Node> {
        self.nodes.set(self.nodes.get() + 1);
        Node::new(name, is_template)
    }

    fn place(&self, child: &NodeOrText<Rc<Node>>, depth: u32) {
        let bytes = match child {
            NodeOrText::AppendText(text) => text.len(),
            NodeOrText::AppendNode(node) => {
                node.depth.set(depth);
                if let Some(contents) = &node.contents {
                    contents.depth.set(depth);
                }
                self.depth.set(self.depth.get().max(depth));
                NODE_COST
            }
        };
        self.cost.set(self.cost.get().saturating_add(bytes * depth as usize));
    }
}

impl TreeSink for Counter {
    type Handle = Rc<Node>;
    type Output = ();
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) {}

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> Rc<Node> {
        self.document.clone()
    }

    fn elem_name<'a>(&'a self, target: &'a Rc<Node>) -> ExpandedName<'a> {
        target.name.expanded()
    }

    fn create_element(&self, name: QualName, _: Vec<Attribute>, flags: ElementFlags) -> Rc<Node> {
        self.count(Some(name), flags.template)
    }

    fn create_comment(&self, _: StrTendril) -> Rc<Node> {
        self.count(None, false)
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> Rc<Node> {
        self.count(None, false)
    }

    fn append(&self, parent: &Rc<Node>, child: NodeOrText<Rc<Node>>) {
        self.place(&child, parent.depth.get() + 1);
    }

    fn append_based_on_parent_node(&self, _: &Rc<Node>, before: &Rc<Node>, child: NodeOrText<Rc<Node>>) {
        self.place(&child, before.depth.get() + 1);
    }

    fn append_before_sibling(&self, sibling: &Rc<Node>, child: NodeOrText<Rc<Node>>) {
        self.place(&child, sibling.depth.get());
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &Rc<Node>) -> Rc<Node> {
        target.contents.as_ref().unwrap_or(target).clone()
    }

    fn same_node(&self, x: &Rc<Node>, y: &Rc<Node>) -> bool {
        Rc::ptr_eq(x, y)
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn add_attrs_if_missing(&self, _: &Rc<Node>, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, _: &Rc<Node>) {}

    fn reparent_children(&self, _: &Rc<Node>, _: &Rc<Node>) {}
}
