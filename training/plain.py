"""Plain reports made by a grammar. Annotators like to tell stances in rare words and to set traps with the common ones; in newspapers
"X has halted exports there" means what it says. These texts keep the common verbs honest."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "corpus"))
import markup
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


def report(names, rng, number):
    """A headline and one to six sentences on one to three companies with a stance and up to two without, named as `names` has them
    ("COM", "PER", "ORG"); a document as in `corpus/*.jsonl`. The text is written in the corpus's markup."""
    pick = rng.choice
    place, goods = pick(PLACES), pick(GOODS)
    trade = pick(TRADES).format(goods=goods)
    companies = list(dict.fromkeys(pick(names["COM"]) for _ in range(5)))
    acting = rng.choice((1, 1, 2, 2, 3))
    stances = {c: pick(("halted", "halted", "suspended", "continuing")) for c in companies[:acting]}
    silent = companies[acting:acting + rng.choice((0, 1, 1, 2))]
    keys = {c: f"c{n}" for n, c in enumerate(companies, 1)}
    located, marked = f"<<{place}|LOC>>", lambda c, surface, stance: f"[[{surface}|{keys[c]}{'|' + stance if stance else ''}]]"

    def act(c, headline=False):
        """Forms of the verb, and the words after it: what the company does."""
        verb, takes = pick(VERBS[stances[c]])
        if "activity" in takes:
            where = pick((f" in {located}", pick((" there", " in the country", " in the region", ""))))
            rest = pick(ACTIVITIES).format(goods=goods) + (f" in {located}" if headline else where)
        elif "site" in takes:
            slot, at = pick((("{city}", pick(CITIES)), ("{place}", place)))
            rest = pick([s for s in SITES if slot in s]).replace(slot, f"<<{at}|LOC>>")
        else:
            rest = located if headline or rng.random() < 0.5 else pick(("the country", "the market"))
        if "until" in takes or stances[c] == "suspended" and rng.random() < 0.4:
            rest += " " + pick(UNTIL)
        return verb, rest

    head, day = companies[0], pick(DAYS)
    (to, _, _, headline), rest = act(head, headline=True)
    title = f"{marked(head, head, stances[head])} {pick((headline, headline, 'to ' + to))} {rest}"
    (to, has, ing, _), rest = act(head)
    opening = pick((f" said on {day} it would {to}", f" has {has}", f", a {trade}, is {ing}", f" will {to}", f" plans to {to}",
                    f", based in <<{pick(CITIES)}|LOC>>, has {has}"))
    named = marked(head, head + pick(SUFFIXES) if rng.random() < 0.15 else head, stances[head])
    body = [f"{named}{opening} {rest}" + pick((".", ", it said in a statement.", f", the {trade} said on {day}."))]
    if rng.random() < 0.35:
        reference = f"(({pick(('The company', 'It', 'The ' + trade))}|{keys[head]}|{stances[head]}))"
        body.append(f"{reference} {pick(('has', 'had'))} {act(head)[0][1]} {pick(('work there', 'its business there', 'operations'))}.")
    for c in companies[1:acting]:
        (to, has, ing, _), rest = act(c)
        also = "also " if stances[c] == stances[head] else ""
        opening = pick((f" has {also}{has}", f" said it would {also}{to}", f", a rival, has {also}{has}",
                        f", which employs {rng.randint(2, 90)},000 people, has {also}{has}", f" is {also}{ing}"))
        body.append(f"{marked(c, c, stances[c])}{opening} {rest}.")
    for c in silent:
        name = marked(c, c, None)
        body.append(pick((f"{name} is the market leader.", f"Shares in {name} rose {rng.randint(1, 9)} percent.",
                          f"Trading in shares of {name} was halted for an hour.", f"{marked(c, c, 'silent')} declined to comment.",
                          f"Analysts at {name} said they had expected the step.", f"Before, {name} sold the most {goods}.",
                          f"Talks with {name} were suspended.")))
    if rng.random() < 0.4:
        body.append(pick((f"<<{pick(names['ORG'])}|ORG>> said it would look at the case.", f"The government has suspended exports of {goods}.",
                          f"<<{pick(names['PER'])}|PER>>, an economist, said more could follow.")))
    text, mentions, entities = markup.strip(f"{title}\n\n{' '.join(body)}", 0)
    known = [dict(key=keys[c], name=c, stance=stances.get(c, "silent")) for c in [*companies[:acting], *silent]]
    return dict(id=f"plain-{number}", text=text, title="", companies=known, mentions=mentions, entities=entities)
