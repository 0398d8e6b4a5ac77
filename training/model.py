"""One encoder pass, two heads: entity tags per token, and a class per (company, sentence)."""
import torch
from torch import nn
from transformers import BertModel
from data import ALLOWED, SENTENCE_CLASSES, TAGS


class Stancewire(nn.Module):
    """BERT encoder with 4 token types (letter case).

    entity head   hidden [tokens, H] -> logits [tokens, 9]
    stance head   for company c and sentence s of a window:
                  m = mean hidden of c's mentions in s, else in the window, else carried here     [H]
                  a = attention of c over the tokens of s: softmax(q(m_c) . k(h)) v(h)            [H]
                  logits = MLP([m; a; m*a; mean(s); named-in-s flag])                             [4] none, halted, suspended, continuing
    document      silent 0, class k: logsumexp over sentences of (logit_k - logit_none)
    """

    def __init__(self, encoder):
        super().__init__()
        self.encoder = BertModel.from_pretrained(encoder, add_pooling_layer=False, attn_implementation="sdpa")
        h = self.encoder.config.hidden_size
        old = self.encoder.embeddings.token_type_embeddings.weight.data
        if old.shape[0] != 4:
            new = nn.Embedding(4, h)
            new.weight.data = old[:1].repeat(4, 1) + torch.cat([torch.zeros(1, h), torch.randn(3, h) * 0.02])
            self.encoder.embeddings.token_type_embeddings = new
            self.encoder.config.type_vocab_size = 4
        self.dropout = nn.Dropout(0.1)
        self.entity = nn.Linear(h, len(TAGS))
        self.query, self.key, self.value = nn.Linear(h, h), nn.Linear(h, h), nn.Linear(h, h)
        self.stance = nn.Sequential(nn.Linear(4 * h + 1, h), nn.GELU(), nn.Dropout(0.1), nn.Linear(h, len(SENTENCE_CLASSES)))

    def forward(self, ids, mask, case):
        return self.encoder(ids, mask, case).last_hidden_state

    def pairs(self, h, sents, companies):
        """h [T, H], sentence ranges, per company a list of mention ranges or a carried vector [H] -> logits [C, S, 4]."""
        per = [c[None] if torch.is_tensor(c) else torch.stack([h[a:b].mean(0) for a, b in c]) for c in companies]
        key, value = self.key(h), self.value(h)
        query = self.query(torch.stack([p.mean(0) for p in per]))
        score = query @ key.T / h.shape[1] ** 0.5
        rows = []
        for i, (a, b) in enumerate(sents):
            mean = h[a:b].mean(0)
            att = torch.softmax(score[:, a:b], -1) @ value[a:b]
            for c, spans in enumerate(companies):
                inside = [] if torch.is_tensor(spans) else [k for k, (x, _) in enumerate(spans) if a <= x < b]
                m = per[c][inside].mean(0) if inside else per[c].mean(0)
                rows.append(torch.cat([m, att[c], m * att[c], mean, m.new_tensor([float(bool(inside))])]))
        return self.stance(torch.stack(rows)).view(len(sents), len(companies), -1).transpose(0, 1)


def document_logits(pairs):
    """[sentences, 4] of one company over all windows -> [4] silent, halted, suspended, continuing."""
    return torch.cat([pairs.new_zeros(1), torch.logsumexp(pairs[:, 1:] - pairs[:, :1], 0)])


def entity_loss(logits, tags):
    keep = tags.view(-1) != -100
    logp = torch.log_softmax(logits.float().reshape(-1, len(TAGS))[keep], -1)
    return -torch.logsumexp(logp + ALLOWED[tags.view(-1)[keep]], -1).mean()
