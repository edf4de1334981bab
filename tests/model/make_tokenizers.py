#!/usr/bin/env python3
"""Makes the tokenizers of tests/model/tokenizers and, for each, golden ids of hard texts.

make_tokenizers.py [OUT]: needs the `tokenizers` package. What it writes is committed, so that tests need no Python.
Each tokenizer is small, and its pipeline is that of a family of models."""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from texts import corpus, hard_texts

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{ENDINGS}"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
HAN = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
            r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def bpe(tokenizer, size, special=(), byte_level=True, **options):
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet,
                                  show_progress=False, **options)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def changed(tokenizer, change):
    """The tokenizer with its JSON changed: what the package's constructors do not offer."""
    value = json.loads(tokenizer.to_str())
    change(value)
    return Tokenizer.from_str(json.dumps(value))


def byte_level(pattern=None, prefix=False):
    if pattern is None:
        return pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def template(single, *tokens):
    return processors.TemplateProcessing(single=single, special_tokens=list(tokens))


def gpt2():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = byte_level()
    tok.decoder = decoders.ByteLevel()
    bpe(tok, 1500, ["<|endoftext|>"])
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    return tok


def roberta():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = byte_level(prefix=True)
    tok.decoder = decoders.ByteLevel()
    bpe(tok, 1000, ["<s>", "<pad>", "</s>", "<unk>"])
    tok.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tok.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tok


def llama3():
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = byte_level(LLAMA3)
    tok.decoder = decoders.ByteLevel()
    bpe(tok, 1800)
    tok.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    begin = tok.token_to_id("<|begin_of_text|>")
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                              template("<|begin_of_text|> $A", ("<|begin_of_text|>", begin))])

    def drop_a_merge(value):  # words that only ignore_merges finds
        del value["model"]["merges"][900:1100:3]
    return changed(tok, drop_a_merge)


def qwen2():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = byte_level(QWEN2)
    tok.decoder = decoders.ByteLevel()
    bpe(tok, 1500)
    tok.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tok.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("naïve", single_word=True),
                    AddedToken("Ångström", normalized=True)])

    def old_spelling(value):
        value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    return changed(tok, old_spelling)


def o200k():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = byte_level(O200K)
    tok.decoder = decoders.ByteLevel()
    bpe(tok, 1500)
    tok.add_special_tokens(["<|startoftext|>", "<|return|>"])
    return tok


def deepseek():
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.Sequence([])
    splits = [pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"), pre_tokenizers.Split(Regex(HAN), "isolated"),
              pre_tokenizers.Split(Regex(DEEPSEEK), "isolated"),
              pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    tok.pre_tokenizer = pre_tokenizers.Sequence(splits)
    tok.decoder = decoders.ByteLevel()
    bpe(tok, 1500)
    tok.add_special_tokens(["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"])
    begin = "<｜begin▁of▁sentence｜>"
    tok.post_processor = template(begin + " $A", (begin, tok.token_to_id(begin)))
    return tok


def llama2():
    """Prepend and Replace, no pre-tokenizer: the whole text is one word."""
    tok = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace()  # for training only: words
    bpe(tok, 2000, ["<unk>", "<s>", "</s>"] + BYTES, byte_level=False, limit_alphabet=300)
    tok.pre_tokenizer = None
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    tok.post_processor = template("<s> $A", ("<s>", 1))

    def bytes_are_plain(value):
        value["added_tokens"] = [token for token in value["added_tokens"] if token["id"] < 3]
    return changed(tok, bytes_are_plain)


def mistral():
    """Metaspace that prepends to the first piece only, and a chat model's added tokens."""
    value = json.loads(llama2().to_str())
    value["normalizer"] = None
    value["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    tok = Tokenizer.from_str(json.dumps(value))
    tok.add_special_tokens([AddedToken("<|user|>", rstrip=True, normalized=False),
                            AddedToken("<|end|>", lstrip=True, rstrip=True, normalized=False)])
    return tok


def gemma():
    tok = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tok.normalizer = normalizers.Replace(" ", "▁")
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    bpe(tok, 2000, ["<pad>", "<eos>", "<bos>", "<unk>"] + BYTES, byte_level=False, limit_alphabet=300)
    tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tok.post_processor = template("<bos> $A", ("<bos>", 2))

    def only_special(value):
        value["added_tokens"] = [token for token in value["added_tokens"] if token["id"] < 4]
    tok = changed(tok, only_special)
    tok.add_tokens([AddedToken("\n" * n, normalized=False) for n in range(2, 5)]
                   + [AddedToken("▁" * n, normalized=False) for n in range(2, 5)]
                   + [AddedToken("<start_of_turn>", normalized=False), AddedToken("<b>", normalized=True)])
    return tok


def unigram(tok, size, special, unk):
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token=unk, show_progress=False)
    tok.train_from_iterator(corpus(), trainer)
    return tok


def t5():
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram(tok, 1500, ["<pad>", "</s>", "<unk>"], "<unk>")
    tok.decoder = decoders.Metaspace()
    tok.post_processor = template("$A </s>", ("</s>", tok.token_to_id("</s>")))
    return tok


def xlm():
    """Unigram with bytes to fall back on, sequence of WhitespaceSplit and Metaspace."""
    tok = Tokenizer(models.Unigram())
    tok.normalizer = normalizers.Sequence([normalizers.Strip(left=True, right=True), normalizers.NFKD(),
                                           normalizers.StripAccents(), normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    unigram(tok, 1200, ["<unk>", "<s>", "</s>"] + BYTES, "<unk>")
    tok.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])

    def fall_back(value):
        value["model"]["byte_fallback"] = True
        value["added_tokens"] = [token for token in value["added_tokens"] if token["id"] < 3]
    return changed(tok, fall_back)


def mixed():
    """Pre-tokenizers that no large model has together, unknown characters, and no decoder."""
    tok = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>", continuing_subword_prefix="##"))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("isolated"),
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split("th", "merged_with_next"),
        pre_tokenizers.Split(Regex("[aeiou]{2}"), "merged_with_previous"), pre_tokenizers.Split("zz", "contiguous"),
        pre_tokenizers.Split("q", "removed"), pre_tokenizers.CharDelimiterSplit("|")])
    bpe(tok, 900, ["[UNK]"], byte_level=False, limit_alphabet=120, end_of_word_suffix="</w>",
        continuing_subword_prefix="##")
    return tok


ALL = [gpt2, roberta, llama3, qwen2, o200k, deepseek, llama2, mistral, gemma, t5, xlm, mixed]


def cut_inside(ids, rng):
    if len(ids) < 2:
        return ids
    begin = rng.randrange(len(ids) - 1)
    return ids[begin:rng.randrange(begin + 1, len(ids)) + 1]


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizers")
    for make in ALL:
        folder = os.path.join(out, make.__name__)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "tokenizer.json")
        tok = make()
        with open(path, "w", encoding="utf-8") as file:
            value = json.loads(tok.to_str())
            file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
        tok = Tokenizer.from_file(path)  # as others will read it
        rng = random.Random(7)
        with open(os.path.join(folder, "golden.jsonl"), "w", encoding="utf-8") as file:
            for text in hard_texts():
                ids = tok.encode(text, add_special_tokens=True).ids
                part = cut_inside(ids, rng)
                line = {"text": text, "ids": ids, "bare": tok.encode(text, add_special_tokens=False).ids,
                        "decoded": tok.decode(ids, skip_special_tokens=False),
                        "plain": tok.decode(ids, skip_special_tokens=True),
                        "part": part, "part_decoded": tok.decode(part, skip_special_tokens=False)}
                file.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n")
        print(f"{make.__name__}: {tok.get_vocab_size()} tokens, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
