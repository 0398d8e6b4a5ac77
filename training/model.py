"""One encoder pass, two heads: entity tags per token, and a class per (company, sentence)."""
import torch
from pathlib import Path
from torch import nn
from transformers import AutoConfig, BertModel, MPNetModel
from data import ALLOWED, SENTENCE_CLASSES, TAGS


def cased_bert(encoder):
    """A BERT encoder whose token types are the four classes of letter case."""
    bert = BertModel.from_pretrained(encoder, add_pooling_layer=False, attn_implementation="sdpa")
    old, h = bert.embeddings.token_type_embeddings.weight.data, bert.config.hidden_size
    if old.shape[0] != 4:
        new = nn.Embedding(4, h)
        new.weight.data = old[:1].repeat(4, 1) + torch.cat([torch.zeros(1, h), torch.randn(3, h) * 0.02])
        bert.embeddings.token_type_embeddings = new
        bert.config.type_vocab_size = 4
    return bert


class CasedMpnet(nn.Module):
    """The teacher's encoder: MPNet (Song et al. 2020), which knows no token types, with an embedding of letter case added to
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
        self.token_type = nn.Embedding(4, self.mpnet.config.hidden_size)
        self.token_type.weight.data.normal_(0, 0.02)

    def forward(self, ids, mask, case):
        words = self.mpnet.embeddings.word_embeddings(self.number[ids]) + self.token_type(case)
        return self.mpnet(inputs_embeds=words, attention_mask=mask)


class Stancewire(nn.Module):
    """BERT encoder with 4 token types (letter case).

    entity head   hidden [tokens, H] -> logits [tokens, 9]
    stance head   for company c and sentence s of a window:
                  m = mean hidden of c's mentions in s, else in the window, else carried here     [H]
                  a = attention of c over the tokens of s: softmax(q(m_c) . k(h)) v(h)            [H]
                  logits = MLP([m; a; m*a; mean(s); named-in-s flag])                             [5] none, halted, suspended, continuing, no_comment
    scope head    on the MLP's inner layer: logit that what s reports of c holds for a part of its business only    [1]
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
        self.stance = nn.Sequential(nn.Linear(4 * h + 1, h), nn.GELU(), nn.Dropout(0.1), nn.Linear(h, len(SENTENCE_CLASSES)))
        self.scope = nn.Linear(h, 1)

    def forward(self, ids, mask, case):
        return self.encoder(ids, mask, case).last_hidden_state

    def pairs(self, h, sents, companies):
        """h [T, H], sentence ranges, per company a list of mention ranges or a carried vector [H] -> logits of the classes
        and of "partial" [C, S, 6]."""
        C, S, T = len(companies), len(sents), h.shape[0]
        inside, window = torch.zeros(C, S, T), torch.zeros(C, T)
        mean, outside = torch.zeros(S, T), torch.ones(S, T, dtype=torch.bool)
        named = torch.zeros(C, S, 1)
        carried = [c for c in range(C) if torch.is_tensor(companies[c])]
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
                named[c, i] = float(bool(own))
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
        inner = self.stance[:3](torch.cat([m, att, m * att, means, named], -1))
        return torch.cat([self.stance[3](inner), self.scope(inner)], -1)


def document_logits(pairs):
    """[sentences, 6] of one company over all windows -> [4] silent, halted, suspended, continuing."""
    silence = torch.logaddexp(pairs[:, :1], pairs[:, 4:5])
    return torch.cat([pairs.new_zeros(1), torch.logsumexp(pairs[:, 1:4] - silence, 0)])


def entity_loss(logits, tags):
    keep = tags.view(-1) != -100
    logp = torch.log_softmax(logits.float().reshape(-1, len(TAGS))[keep], -1)
    return -torch.logsumexp(logp + ALLOWED[tags.view(-1)[keep]], -1).mean()


def partial_probability(pairs):
    """[sentences, 6] of one company over all windows -> probability that its stance is partial: the mean over the sentences,
    each weighted by the probability that it says something."""
    said = 1 - torch.softmax(pairs[:, :5], -1)[:, [0, 4]].sum(-1)
    return (said * torch.sigmoid(pairs[:, 5])).sum() / said.sum()


def brought_up(state, now):
    """Weights of releases before the class `no_comment`, which starts as a copy of `none`, one nat less likely, and before the scope
    head, which starts as in the weights `now`."""
    state = {**{k: v for k, v in now.items() if k.startswith("scope.")}, **state}
    weight, bias = state["stance.3.weight"], state["stance.3.bias"]
    if len(bias) == 4:
        state = {**state, "stance.3.weight": torch.cat([weight, weight[:1]]), "stance.3.bias": torch.cat([bias, bias[:1] - 1])}
    return state
