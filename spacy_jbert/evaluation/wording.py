"""What the report page says, in Japanese and English."""

from typing import Literal

from markupsafe import Markup

Lang = Literal["auto", "ja", "en"]

WORDS: dict[str, tuple[str, str]] = {
    "skip": ("本文へ", "Skip to the content"),
    "summary": ("概要", "Summary"),
    "entities": ("固有表現", "Entities"),
    "categories": ("カテゴリー", "Categories"),
    "training": ("学習曲線", "Learning curve"),
    "corpus": ("コーパス", "Corpus"),
    "mistakes": ("間違い", "Mistakes"),
    "about": ("モデルについて", "About the model"),
    "contents": ("目次", "Contents"),
    "theme": ("明暗", "Light / dark"),
    "p": ("適合率", "Precision"),
    "r": ("再現率", "Recall"),
    "f": ("F 値", "F"),
    "macro_f": ("F 値（ラベル平均）", "F, mean of labels"),
    "accuracy": ("正解率", "Accuracy"),
    "interval": (
        "かっこ内は 95% 区間です（文書のブートストラップ 1,000 回。正解率は Wilson 法）。",
        "In brackets: 95 % intervals, from 1,000 bootstrap draws of documents (accuracy: Wilson).",
    ),
    "baseline": ("線形モデル", "Linear baseline"),
    "baseline_note": (
        "線形モデルは、同じ学習データの文字 n-gram（TF-IDF）による線形 SVC です。",
        "Linear baseline: a linear SVC on character n-grams (TF-IDF) of the same training part.",
    ),
    "documents": ("文書", "Documents"),
    "characters": ("文字", "characters"),
    "by_label": ("ラベル別", "By label"),
    "label": ("ラベル", "Label"),
    "support": ("正解数", "Annotated"),
    "found_count": ("予測数", "Found"),
    "few": ("少数", "few"),
    "few_note": (
        "「少数」は正解が 10 件未満のラベルで、値はあまり当てになりません。",
        "“few”: fewer than 10 annotated, so the figures say little.",
    ),
    "error_types": ("誤りの種類（SemEval-2013）", "Kinds of error (SemEval-2013)"),
    "error_types_note": (
        "strict は範囲と種類、exact は範囲、type は重なりと種類が合えば正解。"
        "partial は重なりを半分と数えます。",
        "strict: borders and type right; exact: borders; type: type, with any overlap; "
        "partial: an overlap counts half.",
    ),
    "scheme": ("基準", "Scheme"),
    "correct": ("正解", "correct"),
    "incorrect": ("誤り", "incorrect"),
    "partial": ("部分", "partial"),
    "missed": ("見落とし", "missed"),
    "spurious": ("過剰", "invented"),
    "confusion": ("混同行列", "Confusion"),
    "confusion_note": (
        "行が正解、列が予測です。数を押すと、その間違いだけを下に示します。",
        "Rows: annotated; columns: found. A number shows these mistakes below.",
    ),
    "often": ("多い取り違え", "The most frequent confusions"),
    "nothing": ("（なし）", "(nothing)"),
    "coverage": ("被覆率と正解率", "Coverage and accuracy"),
    "coverage_note": (
        "確信度がしきい値以上の答えだけを採ったとき、どれだけ残り、どれだけ正しいか。",
        "If only answers as sure as a threshold are taken: how many are left, how many are right.",
    ),
    "threshold": ("しきい値", "Threshold"),
    "share_kept": ("被覆率", "Coverage"),
    "kept": ("残る数", "Kept"),
    "withheld": ("しきい値未満", "Under a threshold"),
    "set_threshold": ("このモデルのしきい値", "This model’s thresholds"),
    "reliability": ("信頼度（較正）", "Reliability"),
    "reliability_note": (
        "確信度 0.8 の答えが 80% 正しければ点線に乗ります。点は同数ずつの 10 群。ECE:",
        "On the dashed line, of answers with 0.8, 80 % are right. Points: 10 groups of equal "
        "size. ECE:",
    ),
    "before": ("較正前", "before calibration"),
    "after": ("較正後", "as it is"),
    "confidence": ("確信度", "Confidence"),
    "step": ("ステップ", "Step"),
    "score": ("開発データの点", "Score on dev"),
    "part": ("データ", "Part"),
    "median": ("長さの中央値", "Median length"),
    "long": ("長さ（95%）", "95 % are within"),
    "longest": ("最長", "Longest"),
    "lengths": ("文書の長さ（文字）", "Length of texts (characters)"),
    "texts": ("文書数", "Texts"),
    "misaligned": (
        "トークンの途中で始まるか終わる固有表現",
        "Entities that begin or end inside a token",
    ),
    "duplicates": ("重複する文書", "Texts that are there twice"),
    "contradictory": ("正解が食い違う同じ文書", "The same text with different annotation"),
    "suspects": ("正解の誤りかもしれない間違い", "Mistakes in which the annotation may be wrong"),
    "none": ("なし", "none"),
    "search": ("検索", "Search"),
    "kind": ("種類", "Kind"),
    "all": ("すべて", "all"),
    "only_suspects": ("正解の誤りの疑いだけ", "Only where the annotation may be wrong"),
    "shown": ("件", "shown"),
    "csv": ("CSV で保存", "Save as CSV"),
    "jsonl": ("JSONL で保存", "Save as JSONL"),
    "more": ("さらに表示", "Show more"),
    "clear": ("絞り込みを解除", "Clear filters"),
    "record": ("文書", "Record"),
    "annotated": ("正解", "annotated"),
    "found": ("予測", "found"),
    "sure": ("確信度", "sure"),
    "whole": ("全文", "Whole text"),
    "suspect": ("正解の誤り？", "annotation wrong?"),
    "no_script": (
        "間違いの一覧にはスクリプトが必要です。",
        "The list of mistakes needs scripts to be allowed.",
    ),
    "invented": ("過剰", "invented"),
    "wrong type": ("種類違い", "wrong type"),
    "wrong border": ("範囲違い", "wrong border"),
    "uncertain": ("しきい値未満", "uncertain"),
    "wrong class": ("カテゴリー違い", "wrong class"),
    "missed class": ("カテゴリー見落とし", "missed class"),
    "invented class": ("カテゴリー過剰", "invented class"),
    "name": ("名前", "Name"),
    "version": ("版", "Version"),
    "licence": ("ライセンス", "Licence"),
    "sources": ("出典", "Sources"),
    "pipeline": ("パイプライン", "Pipeline"),
    "encoder": ("エンコーダー", "Encoder"),
    "parameters": ("重みの数", "Weights"),
    "size": ("大きさ", "Size"),
    "speed": ("速さ", "Speed"),
    "per_second": ("文字/秒", "characters a second"),
    "temperatures": ("温度", "Temperatures"),
    "machine": ("測定した機械", "Measured on"),
    "versions": ("使った版", "Versions"),
    "config": ("設定", "Config"),
    "comparison": ("比較", "Comparison"),
    "difference": ("差（B − A）", "Difference (B − A)"),
    "comparison_note": (
        "同じ文書での対応ありブートストラップ（1,000 回）。p は差が偶然である目安です。",
        "Paired bootstrap on the same documents, 1,000 draws; p: how often chance would say "
        "otherwise.",
    ),
    "who": ("どちらの間違い", "Whose mistakes"),
    "only_a": ("A だけが間違えた文書", "Records only A gets wrong"),
    "only_b": ("B だけが間違えた文書", "Records only B gets wrong"),
    "both": ("両方が間違えた文書", "Records both get wrong"),
    "records": ("文書数", "Records"),
}
"""By name: Japanese, English."""


def say(key: str) -> Markup:
    """RETURNS (Markup): Both languages; the style sheet shows that of the page."""
    return both(*WORDS[key])


def both(japanese: str, english: str) -> Markup:
    """RETURNS (Markup): The same of words that aren't the report's."""
    spans = '<span class="ja" lang="ja">{}</span><span class="en" lang="en">{}</span>'
    return Markup(spans).format(japanese, english)


def say_in_svg(key: str) -> Markup:
    """RETURNS (Markup): The same inside of an SVG's <text>."""
    return both_in_svg(*WORDS[key])


def both_in_svg(japanese: str, english: str) -> Markup:
    """RETURNS (Markup): The same of words that aren't the report's."""
    spans = '<tspan class="ja">{}</tspan><tspan class="en">{}</tspan>'
    return Markup(spans).format(japanese, english)
