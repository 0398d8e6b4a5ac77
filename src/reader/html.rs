//! HTML page → main text and metadata.

mod metadata;
mod paragraphs;
mod scan;

use std::thread;

use trafilatura::{Config, ExtractionFocus, Options};
use url::Url;

use self::paragraphs::{plain_paragraphs, read_paragraphs};
use self::scan::scan;

/// Of the thread that reads a page. Pages nested as deep as is let through have been read in 1 MiB.
const STACK_BYTES: usize = 16 << 20;

/// A page without what surrounds its main text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Its headline without the name of the site.
    pub title: Option<String>,
    /// When it was published, as the page writes it; `2019-11-20` where only its address or text says it.
    pub date: Option<String>,
    /// The address that the page gives as its own; absolute, `http` or `https`.
    pub url: Option<String>,
    /// The primary subtag that the page gives, in lower case, such as `en`.
    pub language: Option<String>,
    /// The main text, empty if there is none; a blank line between paragraphs, no title at its head.
    pub text: String,
}

/// Reads the page `html` from the address `url`, by which a relative canonical address is made absolute.
///
/// An error for a page that is nested too deep or has too many elements, and where the crate that finds the main text
/// panics.
pub(super) fn read_page(html: &str, url: Option<&str>) -> Result<Page, String> {
    on_own_stack(|| read(html, url))
}

/// Does `work` on a thread with a stack of known size; a panic becomes an error.
fn on_own_stack<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let builder = thread::Builder::new().name("html".to_owned()).stack_size(STACK_BYTES);
    thread::scope(|scope| {
        let thread = builder.spawn_scoped(scope, work).map_err(|error| format!("no thread: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("the search for the main text panicked; leave this page out".to_owned()))
    })
}

fn read(html: &str, url: Option<&str>) -> Result<Page, String> {
    let mut metadata = scan(html)?;
    if !metadata.has_tags() {
        return Ok(Page { text: plain_paragraphs(html), ..Page::default() });
    }
    let base = url.and_then(|url| Url::parse(url).ok());
    let found = trafilatura::extract(html, &options(base.clone())).map_err(|error| error.to_string())?;
    let title = without_site(found.metadata.title.trim(), found.metadata.sitename.trim());
    let text = read_paragraphs(&found.content_html);
    let address = metadata.urls().find_map(|given| {
        let url = Url::options().base_url(base.as_ref()).parse(given).ok()?;
        matches!(url.scheme(), "http" | "https").then(|| url.to_string())
    });
    Ok(Page {
        title: (!title.is_empty()).then(|| title.to_owned()),
        date: metadata.date().or_else(|| found.metadata.date.map(|date| date.to_string())),
        url: address,
        language: metadata.language(),
        text: without_title(&text, title).to_owned(),
    })
}

/// Precision, because recall falls back to all text of the page, menus too, and finds hardly more of the articles.
fn options(url: Option<Url>) -> Options {
    let config = Config::default().with_min_output_size(0);
    let mut options = Options::default().with_fallback(true).with_focus(ExtractionFocus::FavorPrecision);
    options.config = config;
    options.original_url = url;
    options.exclude_comments = true;
    options
}

/// `title` without ` | site` or the like at its end.
fn without_site<'a>(title: &'a str, site: &str) -> &'a str {
    let cut = title.len().wrapping_sub(site.len());
    match (title.get(..cut), title.get(cut..)) {
        (Some(rest), Some(end)) if !site.is_empty() && end.eq_ignore_ascii_case(site) => {
            let headline = rest.trim_end().trim_end_matches(['|', '-', '\u{2013}', '\u{2014}', '\u{b7}', ':']);
            // Only where a mark stands between words, and not where the site is the whole title.
            let has_mark = headline.len() < rest.trim_end().len() && headline.ends_with(char::is_whitespace);
            if has_mark && !headline.trim().is_empty() { headline.trim_end() } else { title }
        }
        _ => title,
    }
}

/// `text` without a first paragraph that is `title`.
fn without_title<'a>(text: &'a str, title: &str) -> &'a str {
    let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    if first.split_whitespace().eq(title.split_whitespace()) { rest } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: &str = "Acme said on Monday that it would leave Russia, where it had worked for ten years.";
    const SECOND: &str = "Its three plants near Moscow have been sold to their managers, a spokesman said.";

    fn article(head: &str, body: &str) -> Page {
        let html = format!(
            "<!DOCTYPE html><html lang=en-GB><head>{head}</head><body><nav><ul><li><a href=/>Home</a><li><a href=/m>\
             Markets</a></ul></nav><article>{body}</article><div id=comments><p>I never liked Acme anyway.</p></div>\
             <footer>Copyright Site</footer></body></html>"
        );
        read_page(&html, Some("https://news.example/a/b")).expect("a page")
    }

    #[test]
    fn the_main_text_is_read_in_paragraphs() {
        let paragraphs = format!("{FIRST}\n\n{SECOND}");
        let rows = [
            ("p", format!("<p>{FIRST}</p><p>{SECOND}</p>"), paragraphs.clone()),
            ("unclosed", format!("<p>{FIRST}<p>{SECOND}"), paragraphs.clone()),
            ("div", format!("<div>{FIRST}</div>\n<div>{SECOND}</div>"), paragraphs.clone()),
            ("br br", format!("<p>{FIRST}<br><br />{SECOND}</p>"), paragraphs.clone()),
            ("white space", format!("<p>\n {} </p>\r\n<p>{SECOND}", FIRST.replace(' ', " \n\t")), paragraphs.clone()),
            (
                "inline",
                format!("<p>{}</p><p>{SECOND}", FIRST.replace("Russia", "<b>Rus</b>s<i>ia</i>")),
                paragraphs.clone(),
            ),
            ("entities", format!("<p>{}</p><p>{SECOND}", FIRST.replace("Acme", "Ac&#109;e")), paragraphs.clone()),
            ("escaped", format!("<p>{FIRST} A &lt;b&gt; &amp;amp; c.</p>"), format!("{FIRST} A <b> &amp; c.")),
            (
                "script",
                format!("<p>{FIRST}</p><script>var a = '<p>no</p>';</script><style>p{{}}</style><p>{SECOND}"),
                paragraphs.clone(),
            ),
            ("NULs", format!("<p>{FIRST}\0</p>\0<p>\0{SECOND}"), paragraphs.clone()),
        ];
        for (name, body, text) in rows {
            assert_eq!(article("<title>Acme leaves Russia</title>", &body).text, text, "{name}");
        }
    }

    #[test]
    fn the_title_is_the_headline_and_not_in_the_text() {
        let body = format!("<h1>Acme leaves\n Russia</h1><p>{FIRST}</p><p>{SECOND}</p>");
        let site = "<meta property=og:site_name content=\"The Site\">";
        for title in ["Acme leaves Russia", "Acme leaves Russia | The Site", "Acme leaves Russia \u{2013} the site"] {
            let page = article(&format!("<meta property=og:title content=\"{title}\">{site}"), &body);
            assert_eq!(page.title.as_deref(), Some("Acme leaves Russia"), "{title}");
            assert_eq!(page.text, format!("{FIRST}\n\n{SECOND}"), "{title}");
        }
        for (title, site, expected) in [
            ("Why we like The Site", "The Site", "Why we like The Site"),
            ("The Site", "The Site", "The Site"),
            ("- The Site", "The Site", "- The Site"),
            ("The-Site", "Site", "The-Site"),
            ("Acme leaves - Le Mondé", "Le Mondé", "Acme leaves"),
            ("Acme leaves é", "\u{e9}\u{e9}", "Acme leaves é"),
            ("Acme", "", "Acme"),
        ] {
            assert_eq!(without_site(title, site), expected);
        }
    }

    #[test]
    fn the_date_is_taken_from_the_surest_place() {
        let json = r#"<script type="application/ld+json">{"@graph": [{"@type": "WebSite"}, {"@type": "NewsArticle",
            "headline": "Acme
            leaves", "datePublished": "2024-05-06T07:08:09Z"}]}</script>"#;
        let meta = "<meta property=\"article:published_time\" content=\"6 May 2024\">";
        let item = "<meta itemprop=datePublished content=2024-05-07>";
        let name = "<meta name=PubDate content=\" May 8, 2024 \">";
        let rows = [
            (format!("{name}{item}{meta}{json}"), "2024-05-06T07:08:09Z"),
            (format!("{name}{item}{meta}"), "6 May 2024"),
            (format!("{name}{item}"), "2024-05-07"),
            (name.to_owned(), "May 8, 2024"),
            (format!("{}{name}", json.replace("2024-05-06T", "0001-01-01T")), "May 8, 2024"),
            (format!("{}{name}", json.replace("]}", "")), "May 8, 2024"),
            (format!("{}{name}", json.replace(r#""2024-05-06T07:08:09Z""#, "5")), "May 8, 2024"),
            ("<time datetime=2024-05-09>x</time><time pubdate datetime=2024-05-10>x</time>".to_owned(), "2024-05-10"),
            ("<time datetime=2024-05-09>9 May</time>".to_owned(), "2024-05-09"),
        ];
        for (head, date) in rows {
            assert_eq!(article(&head, &format!("<p>{FIRST}")).date.as_deref(), Some(date), "{head}");
        }
        let dated = read_page(&format!("<p>{FIRST}"), Some("https://a.example/2024/05/11/acme")).expect("a page");
        assert_eq!(dated.date.as_deref(), Some("2024-05-11"));
    }

    #[test]
    fn address_and_language_are_the_pages_own() {
        let rows = [
            ("<link rel=canonical href=https://a.example/b?c=d>", Some("https://a.example/b?c=d")),
            ("<link rel=\"canonical\" href=\"/c\">", Some("https://news.example/c")),
            (
                "<link rel=canonical href=\"javascript:x\"><meta property=og:url content=http://b.example/>",
                Some("http://b.example/"),
            ),
            ("<link rel=canonical href=\"http://\"><link rel=stylesheet href=http://c.example/>", None),
            ("<meta name=og:url content=ftp://b.example/>", None),
        ];
        for (head, url) in rows {
            assert_eq!(article(head, &format!("<p>{FIRST}")).url.as_deref(), url, "{head}");
        }
        let relative = read_page(&format!("<link rel=canonical href=/c><p>{FIRST}"), None).expect("a page");
        assert_eq!(relative.url, None);
        for (html, language) in [
            ("<html lang=EN-us>", Some("en")),
            ("<html xml:lang=fr>", Some("fr")),
            ("<html lang=\" \"><meta property=og:locale content=de_DE>", Some("de")),
            ("<html lang=english><meta http-equiv=Content-Language content=\"pt, en\">", Some("pt")),
            ("<html lang=\"{{lang}}\">", None),
            ("<p>", None),
        ] {
            let page = read_page(&format!("{html}<p>{FIRST}</p>"), None).expect("a page");
            assert_eq!(page.language.as_deref(), language, "{html}");
        }
    }

    #[test]
    fn without_a_main_text_there_is_none() {
        let menu = "<html><head><title>Site</title></head><body><nav><ul><li><a href=/>Home</a><li><a href=/a>News</a>\
                    </ul></nav><footer>Copyright Site</footer></body></html>";
        for html in
            ["", " \n", "<html></html>", "<!-- <p>x</p>", "<!DOCTYPE html>", "<", "</p>", "<script>x", "\0", menu]
        {
            let page = read_page(html, None).expect("a page");
            assert!(matches!(page.text.as_str(), "" | "<"), "{html}: {}", page.text);
        }
        assert_eq!(read_page(menu, None).expect("a page").title.as_deref(), Some("Site"));
    }

    #[test]
    fn plain_text_is_its_own_text() {
        let page = read_page(" Acme left.\r\nIt went.\n \n\nAT&T 3 > 2 stays. ", None).expect("a page");
        assert_eq!(page, Page { text: "Acme left.\nIt went.\n\nAT&T 3 > 2 stays.".to_owned(), ..Page::default() });
    }

    /// Pages that would take hours, gigabytes or the stack.
    fn hostile() -> Vec<(&'static str, String)> {
        let attributes = |separator: &str| (0..200_000).map(|n| format!("a{n}{separator}")).collect::<String>();
        vec![
            ("nested div", "<div>".repeat(200_000)),
            ("nested tables", "<table><tr><td>".repeat(100_000)),
            ("nested svg", "<svg>".repeat(100_000)),
            ("nested templates", "<template>".repeat(100_000)),
            ("open formatting", (0..100_000).map(|n| format!("<p><b id={n}>")).collect()),
            ("misnested", "<b><div></b>".repeat(100_000)),
            ("misnested links", "<a><b><p></a>".repeat(100_000)),
            ("elements", "<p>x".repeat(200_000)),
            ("comments", "<!---->".repeat(200_000)),
            ("deep combs", ("<table><tr><td>".repeat(120) + "x" + &"</table>".repeat(120)).repeat(200)),
            ("deep text", format!("{}{}", "<div>".repeat(500), "word ".repeat(300_000))),
            ("attributes", format!("<div {}>", attributes("=x "))),
            ("attributes by /", format!("<div {}>", attributes("/"))),
            ("quoted attributes", format!("<div {}>", attributes("='<>' "))),
            ("attributes after text", format!("&am<div {}>", attributes(" "))),
            ("attributes of an end", format!("<title>x</title {}>", attributes(" = \"x\""))),
            ("attributes of a script's end", format!("<script>x</script\n{}", attributes("\n"))),
            (
                "many tags of many",
                format!("<div {}>", (0..1001).map(|n| format!("a{n} ")).collect::<String>()).repeat(99),
            ),
        ]
    }

    #[test]
    fn what_would_take_too_long_is_refused() {
        for (name, html) in hostile() {
            let error = read_page(&html, None).expect_err(name);
            assert!(error.ends_with("leave this page out"), "{name}: {error}");
            // Nor may it hide behind a text.
            assert!(read_page(&format!("<p>{FIRST}</p><p>{SECOND}</p>{html}"), None).is_err(), "{name}");
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let error = on_own_stack(|| -> Result<(), String> { panic!("as the test wants") });
        assert!(error.expect_err("an error").contains("panicked"));
        assert_eq!(on_own_stack(|| Ok(1)), Ok(1));
    }

    #[test]
    fn what_only_looks_so_is_read() {
        let rows = [
            ("deep", "<div>".repeat(480)),
            ("a picture in the address", format!("<img src=\"data:image/png;base64,{}\">", "iVBO/Rw0".repeat(500_000))),
            ("JSON in an attribute", format!("<div data-x='{}'></div>", "{\"a\": \"b/c\"} ".repeat(100_000))),
            ("a long comment", format!("<!--{}-->", "<p a=b c=d>x</p> ".repeat(100_000))),
            ("a long script", format!("<script>{}</script>", "if (a <b c d e f) x = '<p a b>'; ".repeat(100_000))),
            ("a script of no tags", format!("<script>if (a <b {}</script>", "c d e f ".repeat(100_000))),
            ("JSON-LD too long", format!("<script type=application/ld+json>[{}1]</script>", "1,".repeat(1_000_000))),
            ("JSON-LD too deep", format!("<script type=application/ld+json>{}</script>", "[".repeat(100_000))),
            ("unclosed paragraphs", "<p>".repeat(10_000)),
        ];
        for (name, html) in rows {
            let page = read_page(&format!("{html}<p>{FIRST}</p><p>{SECOND}</p>"), None).expect(name);
            assert_eq!(page.text, format!("{FIRST}\n\n{SECOND}"), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_page_is_survived(parts in prop::collection::vec(prop_oneof![
            "\\PC{0,20}",
            prop::sample::select(vec!["<p>", "</p>", "<div class=x", "<b>", "</b>", "<table>", "<td>", "<a href=", "\"",
                "'", ">", "<!--", "-->", "<script>", "</script>", "<title>", "<svg>", "<template>", "<select>", "<br>",
                "&amp", "&#0;", "\0", "<html lang=", "<meta ", "<article>", "<li>", "<frameset>", FIRST]).prop_map(str::to_owned),
        ], 0..60)) {
            if let Ok(page) = read_page(&parts.concat(), Some("https://a.example/")) {
                prop_assert!(page.text.split("\n\n").all(|part| part == part.trim()));
                prop_assert!(!page.text.contains("\n\n\n"));
            }
        }

        #[test]
        fn the_pieces_are_the_page(html in "[a<é/! ]{0,40}", n in 0..3_usize) {
            let html = html.repeat(1 + n * 400);
            let joined: String = scan::pieces(&html).map(|(_, piece)| piece).collect();
            prop_assert_eq!(joined, html);
        }
    }
}
