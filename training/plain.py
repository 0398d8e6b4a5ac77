"""Plain reports made by a grammar. Annotators like to tell stances in rare words and to set traps with the common ones; in newspapers
"X has halted exports there" means what it says. These texts keep the common verbs honest."""
from data import SUFFIXES

PLACES = """Russia Ukraine China India Brazil Turkey Iran Venezuela Argentina Nigeria Egypt Mexico Canada Germany France Italy Spain Poland Japan
Vietnam Indonesia Thailand Myanmar Pakistan Israel Iraq Libya Kenya Ethiopia Chile Peru Australia Belarus Kazakhstan Hungary Greece""".split()
CITIES = """Moscow Shanghai Mumbai Detroit Houston Leeds Hamburg Turin Lyon Osaka Busan Lagos Cairo Ankara Lima Perth Winnipeg Gdansk Rotterdam
Seattle""".split()
GOODS = """phones cars trucks computers clothes chips steel beer cosmetics medicines furniture toys tyres shoes batteries software servers coffee
grain fuel""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday".split()
TRADES = ("{goods} maker", "retailer", "airline", "oil company", "bank", "carmaker", "drug maker", "technology company",
          "supplier of {goods}", "brewer", "miner", "telecoms operator")
ACTIVITIES = ("sales", "shipments", "exports", "deliveries", "production", "operations", "all business", "new investments", "services", "flights",
              "orders", "sales of {goods}", "shipments of {goods}", "production of {goods}", "exports of {goods}", "deliveries of {goods}",
              "construction of a plant", "output", "advertising")
SITES = ("its plant in {city}", "its stores in {place}", "its office in {city}", "its factory in {city}", "its {place} unit")
UNTIL = ("until further notice", "for now", "temporarily", "until the end of the month", "while it reviews the situation", "because of a strike",
         "after a fire", "pending a review")


def verbs(*forms, of):
    return [(form, of) for form in forms]


# Verbs as (to ..., has ..., ...ing, headline), and what they take. A verb given twice is twice as likely.
HALT, STOP = ("halt", "halted", "halting", "halts"), ("stop", "stopped", "stopping", "stops")
SUSPEND = ("suspend", "suspended", "suspending", "suspends")
VERBS = {
    "halted":
        verbs(HALT, HALT, STOP, STOP, ("end", "ended", "ending", "ends"), ("cease", "ceased", "ceasing", "ceases"),
              ("discontinue", "discontinued", "discontinuing", "discontinues"), of="activity")
        + verbs(("exit", "exited", "exiting", "exits"), ("leave", "left", "leaving", "leaves"), ("quit", "quit", "quitting", "quits"),
                ("withdraw from", "withdrawn from", "withdrawing from", "withdraws from"),
                ("pull out of", "pulled out of", "pulling out of", "pulls out of"), of="market")
        + verbs(("close", "closed", "closing", "closes"), ("shut down", "shut down", "shutting down", "shuts down"),
                ("sell", "sold", "selling", "sells"), of="site"),
    "suspended":
        verbs(SUSPEND, SUSPEND, ("pause", "paused", "pausing", "pauses"), ("freeze", "frozen", "freezing", "freezes"),
              ("temporarily halt", "temporarily halted", "temporarily halting", "temporarily halts"), of="activity")
        + verbs(("close", "closed", "closing", "closes"), ("shut", "shut", "shutting", "shuts"), ("idle", "idled", "idling", "idles"), of="site until")
        + verbs(HALT, STOP, of="activity until"),
    "continuing":
        verbs(("resume", "resumed", "resuming", "resumes"), ("expand", "expanded", "expanding", "expands"),
              ("continue", "continued", "continuing", "continues"), ("restart", "restarted", "restarting", "restarts"),
              ("increase", "increased", "increasing", "increases"), of="activity")
        + verbs(("reopen", "reopened", "reopening", "reopens"), ("keep open", "kept open", "keeping open", "keeps open"),
                ("expand", "expanded", "expanding", "expands"), of="site")
        + verbs(("stay in", "stayed in", "staying in", "stays in"), ("enter", "entered", "entering", "enters"),
                ("return to", "returned to", "returning to", "returns to"), of="market"),
}


class Text:
    """A text as it grows, with its marks: `add` takes strings, and (surface, mark) for a mention's fields or an entity's label."""

    def __init__(self):
        self.text, self.mentions, self.entities = "", [], []

    def add(self, *parts):
        for part in parts:
            surface, mark = (part, None) if isinstance(part, str) else part
            span = dict(start=len(self.text), end=len(self.text) + len(surface), surface=surface)
            if isinstance(mark, dict):
                self.mentions.append(span | mark)
            elif mark:
                self.entities.append(span | dict(label=mark))
            self.text += surface


def report(names, rng, number):
    """A headline and one to six sentences on one to three companies with a stance and up to two without, named as `names` has them
    ("COM", "PER", "ORG"); a document as in `corpus/*.jsonl`."""
    pick = rng.choice
    place, goods = pick(PLACES), pick(GOODS)
    trade = pick(TRADES).format(goods=goods)
    companies = list(dict.fromkeys(pick(names["COM"]) for _ in range(5)))
    acting = rng.choice((1, 1, 2, 2, 3))
    stances = {c: pick(("halted", "halted", "suspended", "continuing")) for c in companies[:acting]}
    silent = companies[acting:acting + rng.choice((0, 1, 1, 2))]
    out = Text()

    def name(c, stance=None, legal_form=False):
        return c + pick(SUFFIXES) if legal_form and rng.random() < 0.15 else c, dict(company=c, named=True, stance=stance)

    def act(c, headline=False):
        """Forms of the verb, and the words after it: what the company does."""
        verb, takes = pick(VERBS[stances[c]])
        if "activity" in takes:
            where = pick(([" in ", (place, "LOC")], [pick((" there", " in the country", " in the region", ""))]))
            parts = [" ", pick(ACTIVITIES).format(goods=goods), *([" in ", (place, "LOC")] if headline else where)]
        elif "site" in takes:
            slot, at = pick((("{city}", pick(CITIES)), ("{place}", place)))
            before, after = pick([s for s in SITES if slot in s]).split(slot)
            parts = [" ", before, (at, "LOC"), after]
        else:
            parts = [" ", (place, "LOC")] if headline or rng.random() < 0.5 else [" ", pick(("the country", "the market"))]
        if "until" in takes or stances[c] == "suspended" and rng.random() < 0.4:
            parts += [" ", pick(UNTIL)]
        return verb, parts

    head, day = companies[0], pick(DAYS)
    (to, _, _, headline), parts = act(head, headline=True)
    out.add(name(head, stances[head]), " ", pick((headline, headline, "to " + to)), *parts, "\n\n")
    (to, has, ing, _), parts = act(head)
    opening = pick(([" said on ", day, " it would ", to], [" has ", has], [", a ", trade, ", is ", ing], [" will ", to], [" plans to ", to],
                    [", based in ", (pick(CITIES), "LOC"), ", has ", has]))
    out.add(name(head, stances[head], legal_form=True), *opening, *parts, pick((".", ", it said in a statement.", f", the {trade} said on {day}.")))
    if rng.random() < 0.35:
        reference = pick(("The company", "It", "The " + trade)), dict(company=head, named=False, stance=stances[head])
        out.add(" ", reference, " ", pick(("has ", "had ")), act(head)[0][1], pick((" work there", " its business there", " operations")), ".")
    for c in companies[1:acting]:
        (to, has, ing, _), parts = act(c)
        also = "also " if stances[c] == stances[head] else ""
        opening = pick(([" has ", also, has], [" said it would ", also, to], [", a rival, has ", also, has],
                        [f", which employs {rng.randint(2, 90)},000 people, has ", also, has], [" is ", also, ing]))
        out.add(" ", name(c, stances[c]), *opening, *parts, ".")
    for c in silent:
        out.add(" ", *pick(([name(c), " is the market leader."], ["Shares in ", name(c), f" rose {rng.randint(1, 9)} percent."],
                            ["Trading in shares of ", name(c), " was halted for an hour."], [name(c, "silent"), " declined to comment."],
                            ["Analysts at ", name(c), " said they had expected the step."], ["Before, ", name(c), f" sold the most {goods}."],
                            ["Talks with ", name(c), " were suspended."])))
    if rng.random() < 0.4:
        out.add(" ", *pick(([(pick(names["ORG"]), "ORG"), " said it would look at the case."],
                            [f"The government has suspended exports of {goods}."],
                            [(pick(names["PER"]), "PER"), ", an economist, said more could follow."])))
    known = [dict(key=c, name=c, stance=stances.get(c, "silent")) for c in [*companies[:acting], *silent]]
    return dict(id=f"plain-{number}", text=out.text, title="", companies=known, mentions=out.mentions, entities=out.entities)
