"""One encoder pass, two heads: entity tags per token, and a class per (company, sentence)."""
import torch
from pathlib import Path
from torch import nn
from transformers import AutoConfig, BertModel, MPNetModel
from data import ALLOWED, SENTENCE_CLASSES, TAGS
from lexicon import KINDS

# Token types: letter case + 4 * kind of known name.
TOKEN_TYPES = 4 * KINDS


def cased_bert(encoder):
    """A BERT encoder whose token types are the four classes of letter case, for each kind of known name."""
    bert = BertModel.from_pretrained(encoder, add_pooling_layer=False, attn_implementation="sdpa")
    old, h = bert.embeddings.token_type_embeddings.weight.data, bert.config.hidden_size
    if old.shape[0] != TOKEN_TYPES:
        new = nn.Embedding(TOKEN_TYPES, h)
        new.weight.data = (old[:1].repeat(4, 1) + torch.cat([torch.zeros(1, h), torch.randn(3, h) * 0.02])).repeat(KINDS, 1)
        bert.embeddings.token_type_embeddings = new
        bert.config.type_vocab_size = TOKEN_TYPES
    return bert


class CasedMpnet(nn.Module):
    """The teacher's encoder: MPNet (Song et al. 2020), which knows no token types, with an embedding of token types added to
    its words. It reads BERT's word-piece numbers: both vocabularies hold the same pieces in another order."""

    def __init__(self, encoder):
        super().__init__()
        self.mpnet = MPNetModel.from_pretrained(encoder, add_pooling_layer=False)
        pieces = Path(encoder, "vocab.txt").read_text(encoding="utf8").split("\n")
        start = pieces.index("[PAD]")
        shift = torch.arange(30522) + start
        for bert, mpnet in ((0, "<pad>"), (101, "<s>"), (102, "</s>")):
            shift[bert] = pieces.index(mpnet)
        self.register_buffer("number", shift)
        self.token_type = nn.Embedding(TOKEN_TYPES, self.mpnet.config.hidden_size)
        self.token_type.weight.data = (torch.randn(4, self.mpnet.config.hidden_size) * 0.02).repeat(KINDS, 1)

    def forward(self, ids, mask, types):
        words = self.mpnet.embeddings.word_embeddings(self.number[ids]) + self.token_type(types)
        return self.mpnet(inputs_embeds=words, attention_mask=mask)


# How many numbers say how a sentence stands to a company.
STANDING = 5


def standings(sents, companies):
    """[C, S, STANDING]: 1 if the sentence names the company; 1 if it does not, and no other company is mentioned between the company's
    latest mention before it and it; 1 if it names another company; 1 / (sentences since that latest mention), 0 if it names the
    company or there is none; 1 / (companies present). A reference without a name hangs on these. Every mention lies in a sentence."""
    starts = [[] if torch.is_tensor(spans) else [x for x, _ in spans] for spans in companies]
    latest, out = [None] * len(companies), [[] for _ in companies]
    for i, (a, b) in enumerate(sents):
        here = [[x for x in own if a <= x < b] for own in starts]
        count, newest = sum(map(bool, here)), max((row for row, _ in filter(None, latest)), default=None)
        for c, named in enumerate(here):
            before = None if named else latest[c]
            out[c].append([float(bool(named)), float(before is not None and before[0] == newest), float(count > bool(named)),
                           1 / (i - before[1]) if before else 0.0, 1 / len(companies)])
        latest = [(max(named), i) if named else old for named, old in zip(here, latest)]
    return out


class Stancewire(nn.Module):
    """BERT encoder with 36 token types (letter case and kind of known name).

    entity head   hidden [tokens, H] -> logits [tokens, 9]
    stance head   for company c and sentence s of a window:
                  m = mean hidden of c's mentions in s, else in the window, else carried here     [H]
                  a = attention of c over the tokens of s: softmax(q(m_c) . k(h)) v(h)            [H]
                  logits = MLP([m; a; m*a; mean(s); standing of s to c])                          [5] none, halted, suspended, continuing, no_comment
    document      silent 0, class k: logsumexp over sentences of (logit_k - log(exp logit_none + exp logit_no_comment))
    """

    def __init__(self, encoder):
        super().__init__()
        config = AutoConfig.from_pretrained(encoder)
        self.encoder = CasedMpnet(encoder) if config.model_type == "mpnet" else cased_bert(encoder)
        h = config.hidden_size
        self.dropout = nn.Dropout(0.1)
        self.entity = nn.Linear(h, len(TAGS))
        self.query, self.key, self.value = nn.Linear(h, h), nn.Linear(h, h), nn.Linear(h, h)
        self.stance = nn.Sequential(nn.Linear(4 * h + STANDING, h), nn.GELU(), nn.Dropout(0.1), nn.Linear(h, len(SENTENCE_CLASSES)))

    def forward(self, ids, mask, types):
        return self.encoder(ids, mask, types).last_hidden_state

    def pairs(self, h, sents, companies):
        """h [T, H], sentence ranges, per company a list of mention ranges or a carried vector [H] -> logits [C, S, 5]."""
        C, S, T = len(companies), len(sents), h.shape[0]
        inside, window = torch.zeros(C, S, T), torch.zeros(C, T)
        mean, outside = torch.zeros(S, T), torch.ones(S, T, dtype=torch.bool)
        carried = [c for c in range(C) if torch.is_tensor(companies[c])]
        standing = torch.tensor(standings(sents, companies))
        named = standing[..., :1]
        for i, (a, b) in enumerate(sents):
            mean[i, a:b] = 1 / (b - a)
            outside[i, a:b] = False
        for c, spans in enumerate(companies):
            if c in carried:
                continue
            per = [[(x, y) for x, y in spans if a <= x < b] for a, b in sents]
            for x, y in spans:
                window[c, x:y] += 1 / (y - x) / len(spans)
            for i, own in enumerate(per):
                for x, y in own:
                    inside[c, i, x:y] += 1 / (y - x) / len(own)
        vector = window @ h
        if carried:
            vector = vector.index_copy(0, torch.tensor(carried), torch.stack([companies[c] for c in carried]))
        key, value, query = self.key(h), self.value(h), self.query(vector)
        score = (query @ key.T / h.shape[1] ** 0.5)[:, None].expand(C, S, T).masked_fill(outside, float("-inf"))
        att = torch.softmax(score, -1) @ value
        m = torch.where(named > 0, inside @ h, vector[:, None].expand(C, S, -1))
        means = (mean @ h)[None].expand(C, S, -1)
        return self.stance(torch.cat([m, att, m * att, means, standing], -1))


def document_logits(pairs):
    """[sentences, 5] of one company over all windows -> [4] silent, halted, suspended, continuing."""
    silence = torch.logaddexp(pairs[:, :1], pairs[:, 4:])
    return torch.cat([pairs.new_zeros(1), torch.logsumexp(pairs[:, 1:4] - silence, 0)])


def entity_loss(logits, tags):
    keep = tags.view(-1) != -100
    logp = torch.log_softmax(logits.float().reshape(-1, len(TAGS))[keep], -1)
    return -torch.logsumexp(logp + ALLOWED[tags.view(-1)[keep]], -1).mean()


def brought_up(state, now):
    """Weights of earlier releases in the shapes of the weights `now`. The class `no_comment` starts as a copy of `none`, one nat less
    likely; of a sentence's standing all but whether it names the company starts at nothing; known names start as unknown ones."""
    state = {k: v.repeat(len(now[k]) // len(v), 1) if "token_type" in k else v for k, v in state.items() if k in now}
    inner = state["stance.0.weight"]
    missing = now["stance.0.weight"].shape[1] - inner.shape[1]
    state["stance.0.weight"] = torch.cat([inner, inner.new_zeros(len(inner), missing)], 1)
    weight, bias = state["stance.3.weight"], state["stance.3.bias"]
    if len(bias) == 4:
        state = {**state, "stance.3.weight": torch.cat([weight, weight[:1]]), "stance.3.bias": torch.cat([bias, bias[:1] - 1])}
    return state
