"""Tiny random models of the real classes, saved into a folder in a fraction of a second: what no weights can be had for here.

Each is the class that the hub's model is of, with a tokenizer trained on the spot, so loading, preprocessing and the forward
pass are those of the real one; what the vectors mean is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "a red shoe with laces",
    "the small rabbit eats a carrot",
    "一只小兔子",
    "wasserdichte Schuhe für Damen",
    "a dog barks",
] * 4
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}

Tokens = Sequence[str]


def _trained(specials: Tokens, unknown: str) -> Tokenizer:
    """A byte-level BPE; every byte has a token, so no text is unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(dict.fromkeys(specials)),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def tokenizer(
    begin: str | None, end: str | None, pad: str, *, unknown: str = "<unk>", more: Tokens = (), **options: Any
) -> Any:
    """A tokenizer that sets `begin` and `end` around a text."""
    trained = _trained([token for token in (begin, pad, end, unknown, *more) if token], unknown)
    around = [(token, trained.token_to_id(token)) for token in (begin, end) if token]
    if around:
        form = " ".join(part for part in (begin, "$A", end) if part)
        trained.post_processor = processors.TemplateProcessing(single=form, special_tokens=around)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained, bos_token=begin, eos_token=end, pad_token=pad, unk_token=unknown, **options
    )


def _ids(tokens: Any) -> dict[str, int]:
    return {name: getattr(tokens, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def bert(folder: Path) -> None:
    """An encoder with learned positions for 40 tokens."""
    tokens = tokenizer("[CLS]", "[SEP]", "[PAD]", unknown="[UNK]")
    config = transformers.BertConfig(
        vocab_size=len(tokens), max_position_embeddings=40, pad_token_id=tokens.pad_token_id, **_SMALL
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokens.save_pretrained(folder)


def xlm_roberta(folder: Path) -> None:
    """An encoder whose positions start after the padding's index: a table of 40 rows, so fewer tokens than that."""
    tokens = tokenizer("<s>", "</s>", "<pad>")
    config = transformers.XLMRobertaConfig(
        vocab_size=len(tokens), max_position_embeddings=40, type_vocab_size=1, **_ids(tokens), **_SMALL
    )
    transformers.XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokens.save_pretrained(folder)


def decoder(folder: Path, *, padding_side: str = "left", end: str | None = "<eos>") -> None:
    """A decoder as of Qwen3-Embedding: causal, the last token holds the text; its tokenizer may pad on either side."""
    tokens = tokenizer(None, end, "<pad>", padding_side=padding_side)
    config = transformers.Qwen3Config(
        vocab_size=len(tokens), num_key_value_heads=2, head_dim=8, max_position_embeddings=128, **_ids(tokens), **_SMALL
    )
    transformers.Qwen3Model(config).save_pretrained(folder)
    tokens.save_pretrained(folder)


def t5(folder: Path) -> None:
    """An encoder with a decoder, of which only the encoder embeds."""
    tokens = tokenizer(None, "</s>", "<pad>")
    config = transformers.T5Config(
        vocab_size=len(tokens),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=tokens.pad_token_id,
    )
    transformers.T5Model(config).save_pretrained(folder)
    tokens.save_pretrained(folder)


def clip(folder: Path) -> None:
    tokens = tokenizer("<|startoftext|>", "<|endoftext|>", "<|endoftext|>", unknown="<|endoftext|>")
    text = {"vocab_size": len(tokens), "max_position_embeddings": 77, "projection_dim": 24, **_ids(tokens), **_SMALL}
    vision = {"image_size": 32, "patch_size": 8, "projection_dim": 24, **_SMALL}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    transformers.CLIPModel(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(images, tokens).save_pretrained(folder)


def siglip(folder: Path) -> None:
    """SigLIP; SigLIP 2 of fixed size is of the same class. The tokenizer pads on the left and keeps the case: overruled."""
    tokens = tokenizer(None, "<eos>", "<pad>", padding_side="left")
    text = {"vocab_size": len(tokens), "max_position_embeddings": 64, "projection_size": 32, **_ids(tokens), **_SMALL}
    config = transformers.SiglipConfig(text_config=text, vision_config={"image_size": 32, "patch_size": 8, **_SMALL})
    transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipProcessor(transformers.SiglipImageProcessor(size={"height": 32, "width": 32}), tokens).save_pretrained(
        folder
    )


def siglip2(folder: Path) -> None:
    """SigLIP 2 NaFlex: pictures keep their shape."""
    tokens = tokenizer(None, "<eos>", "<pad>")
    text = {"vocab_size": len(tokens), "max_position_embeddings": 64, "projection_size": 32, **_ids(tokens), **_SMALL}
    config = transformers.Siglip2Config(text_config=text, vision_config={"patch_size": 8, "num_patches": 16, **_SMALL})
    transformers.Siglip2Model(config).save_pretrained(folder)
    transformers.Siglip2Processor(transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16), tokens).save_pretrained(
        folder
    )


def chinese_clip(folder: Path) -> None:
    """With a BertTokenizer of single characters, as the real one has for Chinese."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = specials + sorted({character for text in CORPUS for character in text if character.strip()})
    words += [f"##{word}" for word in words if len(word) == 1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokens = transformers.BertTokenizer.from_pretrained(folder)
    text = {"vocab_size": len(tokens), "max_position_embeddings": 64, "pad_token_id": tokens.pad_token_id, **_SMALL}
    vision = {"image_size": 32, "patch_size": 8, **_SMALL}
    config = transformers.ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    transformers.ChineseCLIPModel(config).save_pretrained(folder)
    images = transformers.ChineseCLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    transformers.ChineseCLIPProcessor(images, tokens).save_pretrained(folder)


def clap(folder: Path, *, fused: bool = False) -> None:
    """Windows of 1 s at 16 kHz."""
    tokens = tokenizer("<s>", "</s>", "<pad>")
    text = {"vocab_size": len(tokens), "max_position_embeddings": 90, "projection_dim": 24, **_ids(tokens), **_SMALL}
    audio = {
        "spec_size": 64, "num_mel_bins": 16, "hidden_size": 32, "patch_size": 4, "patch_stride": (4, 4), "window_size": 2,
        "depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "num_hidden_layers": 2,
        "projection_dim": 24, "enable_fusion": fused, "fusion_type": "aff_2d" if fused else None,
    }  # fmt: skip
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    transformers.ClapModel(config).save_pretrained(folder)
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, sampling_rate=16_000, hop_length=160, max_length_s=1, fft_window_size=512, frequency_max=8000,
        truncation="fusion" if fused else "rand_trunc", padding="repeatpad",
    )  # fmt: skip
    transformers.ClapProcessor(extractor, tokens).save_pretrained(folder)


def embedding_gemma2(folder: Path) -> None:
    """All three towers; vectors of 160, so that a cut to 128 can be tried."""
    from transformers.models.embedding_gemma2.processing_embedding_gemma2 import EmbeddingGemma2Processor
    from transformers.models.embedding_gemma2.video_processing_embedding_gemma2 import EmbeddingGemma2VideoProcessor
    from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
    from transformers.models.gemma4.image_processing_gemma4 import Gemma4ImageProcessor

    special = {
        "image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
        "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>",
    }  # fmt: skip
    tokens = tokenizer("<bos>", "<eos>", "<pad>", more=[*special.values(), "<|video|>"], extra_special_tokens=special)
    ids = {name: tokens.convert_tokens_to_ids(token) for name, token in special.items()}
    text = {
        "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 32,
        "hidden_size_per_layer_input": 16, "embedding_dim": 160, **_ids(tokens),
    }  # fmt: skip
    vision = {
        "model_type": "gemma4_vision", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 1024,
    }  # fmt: skip
    audio = {
        "model_type": "gemma4_audio", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "subsampling_conv_channels": [128, 4], "output_proj_dims": 32,
    }  # fmt: skip
    config = transformers.EmbeddingGemma2Config(
        text_config=text, vision_config=vision, audio_config=audio,
        boi_token_id=ids["boi_token"], eoi_token_id=ids["eoi_token"], image_token_id=ids["image_token"],
        boa_token_id=ids["boa_token"], eoa_token_index=ids["eoa_token"], audio_token_id=ids["audio_token"],
        video_token_id=tokens.convert_tokens_to_ids("<|video|>"),
    )  # fmt: skip
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    EmbeddingGemma2Processor(
        Gemma4AudioFeatureExtractor(), Gemma4ImageProcessor(max_soft_tokens=70), tokens, EmbeddingGemma2VideoProcessor()
    ).save_pretrained(folder)


def whisper(folder: Path) -> None:
    """Of two languages; whoever it hears speaks nonsense."""
    marks = ["endoftext", "startoftranscript", "en", "fr", "translate", "transcribe", "startoflm", "startofprev"]
    tokens = tokenizer(None, "<|endoftext|>", "<|endoftext|>", unknown="<|endoftext|>")
    tokens.add_special_tokens(
        {"additional_special_tokens": [f"<|{mark}|>" for mark in (*marks[1:], "nocaptions", "notimestamps")]}
    )
    end = tokens.eos_token_id
    config = transformers.WhisperConfig(
        vocab_size=len(tokens), d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, pad_token_id=end, bos_token_id=end, eos_token_id=end, init_std=0.3,
        decoder_start_token_id=tokens.convert_tokens_to_ids("<|startoftranscript|>"), suppress_tokens=None,
    )  # fmt: skip
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    tokens.save_pretrained(folder)


def classifier(folder: Path, architecture: str, *, classes: int = 1000) -> None:
    """torchvision's own network, full size, with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    network = torchvision.models.get_model(architecture, num_classes=classes)
    save_file(network.state_dict(), folder / "model.safetensors")


def made(build: Callable[..., None], folder: Path, **options: Any) -> Path:
    """The folder, with the model that `build` makes in it; the same weights every time."""
    torch.manual_seed(1)
    build(folder, **options)
    return folder
