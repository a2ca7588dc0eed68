"""What `jbert init` says, in Japanese and in English."""

import locale
import os
from typing import Literal

from ..errors import Warnings

Lang = Literal["ja", "en"]

_TASKS = {
    "ner": ("固有表現抽出", "named entities"),
    "textcat": ("文書分類（ラベルは1つ）", "text classification, one label a text"),
    "textcat_multilabel": (
        "文書分類（ラベルは複数可）",
        "text classification, any number of labels",
    ),
    "joint": ("固有表現と文書分類", "entities and one label a text"),
    "adapt": ("追加の事前学習", "further pretraining on running text"),
    "pretrain": ("新しいエンコーダーの事前学習", "pretraining a new encoder on running text"),
}
_WORDS = {
    "file": ("{path}: 形式 {format}、文字コード {encoding}", "{path}: {format}, {encoding}"),
    "records": (
        "{records:,} 件。本文の長さは中央値 {median:,} 字、最長 {longest:,} 字",
        "{records:,} records; a text has {median:,} characters (median), {longest:,} at most",
    ),
    "empty": ("本文が空の {count:,} 件は除きます", "{count:,} records without text are left out"),
    "unlabelled": (
        "ラベルのない {count:,} 件は除きます（--skip-unlabelled）",
        "{count:,} records without annotation are left out (--skip-unlabelled)",
    ),
    "repeated": (
        "同じ本文が {count:,} 件あります。学習用と評価用に分かれないようにします",
        "{count:,} texts are there before; the same text never stands on both sides of a split",
    ),
    "overlapping": (
        "固有表現の重なる文が {count:,} 件あります。長いほうを残します（--overlaps longest）",
        "{count:,} texts have entities that overlap: the longest stay (--overlaps longest)",
    ),
    "spaces": (
        "前後に空白のあるラベルの空白は取り除きます: {labels}",
        "white space at the ends of labels is left out: {labels}",
    ),
    "fields": ("項目: {fields}", "fields: {fields}"),
    "text_field": (
        "本文は「{name}」（違うときは --text-field）",
        "the text is '{name}' (if not: --text-field)",
    ),
    "label_field": (
        "ラベルは「{name}」（違うときは --label-field）",
        "the label is '{name}' (if not: --label-field)",
    ),
    "entities_field": (
        "固有表現は「{name}」（違うときは --entities-field）",
        "the entities are '{name}' (if not: --entities-field)",
    ),
    "separator": (
        "ラベルの区切りは「{separator}」（project.yml の --separator）",
        "several labels are separated by '{separator}' (--separator in project.yml)",
    ),
    "labels": ("ラベル {count:,} 種類: {labels}", "{count:,} labels: {labels}"),
    "more": ("ほか {count:,} 種類", "{count:,} more"),
    "task": (
        "課題: {task}（違うときは --task {other}）",
        "task: {task} (if not: --task {other})",
    ),
    "small_encoder": (
        "エンコーダー: 付属の jbert-mini（重み 490 万、CPU で数分）。正確さを求めるなら、例えば "
        "--encoder tohoku-nlp/bert-base-japanese-v3（重み 1 億 1,100 万、ダウンロード約 450 MB、"
        "計算量は 1 文あたり約 50 倍。GPU 向き。pip install 'spacy-jbert[mecab]' が必要）",
        "encoder: jbert-mini, which comes along (4.9 million weights; minutes on a CPU). For "
        "better scores name a larger one, such as --encoder "
        "tohoku-nlp/bert-base-japanese-v3 "
        "(111 million weights, a download of about 450 MB, some 50 times the computation a text; "
        "best on a GPU; "
        "needs pip install 'spacy-jbert[mecab]')",
    ),
    "encoder": ("エンコーダー: {name}", "encoder: {name}"),
    "crossval": (
        "アノテーション付きの本文が 200 件に満たないので、評価は {folds} 分割の交差検証で行います",
        "fewer than 200 annotated texts: scores come from cross-validation, {folds} folds",
    ),
    "split": (
        "学習・開発・評価に 80/10/10 で、ラベルの割合を保って分けます（project.yml の --split）",
        "split 80/10/10 for training, development and test, each with its share of each label "
        "(--split in project.yml)",
    ),
    "steps": (
        "学習は {steps:,} ステップ（project.yml の vars.steps）",
        "training takes {steps:,} steps (vars.steps in project.yml)",
    ),
    "passes": (
        "学習は本文を {passes:g} 回（project.yml の vars.epochs）",
        "training takes {passes:g} passes over the text (vars.epochs in project.yml)",
    ),
    "new_encoder": (
        "エンコーダー: 新しく作ります（大きさ {size}、語彙 {vocabulary:,}。project.yml の vars）。"
        "既存のものから続けるには --task adapt（付属の jbert-mini）か --encoder",
        "encoder: a new one (size {size}, a vocabulary of {vocabulary:,}; vars in project.yml). "
        "To go on from one that is there: --task adapt (jbert-mini, which comes along), or "
        "--encoder",
    ),
    "rare": (
        "[JW320] 例が 5 件に満たないラベルは、ほとんど学習できません: {labels}",
        Warnings.JW320,
    ),
    "no_data": (
        "データはまだありません。{path} に置いてください",
        "there are no data yet: put them at {path}",
    ),
    "done": ("{folder} に作りました: {files}", "{folder} holds now: {files}"),
    "next": ("次に:", "next:"),
    # What `spacy project run` says of the steps.
    "convert": (
        "データを読み、ラベルの割合を保って分ける",
        "Read the data, and share it out by labels",
    ),
    "clean": ("本文を整える", "Clean the text"),
    "train": ("エンコーダーを微調整する", "Fine-tune the encoder"),
    "evaluate": (
        "学習に使わなかった本文で採点する",
        "Score the pipeline on texts that it has not seen",
    ),
    "validate": (
        "交差検証: 点数の平均とばらつき",
        "Train and test on each fold in turn: the mean scores, and how far they vary",
    ),
    "report": (
        "点数、較正、すべての間違いを 1 ページにまとめ、wheel のモデルカードも書く",
        "Write a page of scores, calibration and every mistake, and the wheel's model card",
    ),
    "adapt": (
        "エンコーダーの事前学習を続ける（前後の値は training/metrics.json）",
        "Go on pretraining the encoder; before and after are in training/metrics.json",
    ),
    "pretrain": (
        "語彙を作り、新しいエンコーダーを事前学習する（値は training/metrics.json）",
        "Make a vocabulary, and pretrain a new encoder; figures are in training/metrics.json",
    ),
    "package": (
        "wheel を作る（pip install してから spacy.load）",
        "Build a wheel: pip install it anywhere, then spacy.load",
    ),
    "demo": (
        "本文を打ち込んで、結果を見る",
        "Type texts, and see what the pipeline says",
    ),
    "pieces": (
        "本文を打ち込み、Ctrl-D で終えて、単語片を見る",
        "Type a text, end it (Ctrl-D), and see what the encoder sees of it",
    ),
}


def say(key: str, lang: Lang, **values: object) -> str:
    """RETURNS (str): A sentence, with its values."""
    return _WORDS[key][lang == "en"].format(**values)


def task_name(task: str, lang: Lang) -> str:
    """RETURNS (str): What people call a task."""
    return _TASKS[task][lang == "en"]


def readme(name: str, task: str, lang: Lang, *, crossval: bool) -> str:
    """RETURNS (str): The README of a project."""
    scores = "metrics/crossval/scores.json" if crossval else "metrics/test.json"
    rows = {
        "metrics/": (f"点数（{scores}）", f"scores ({scores})"),
        "reports/": ("点数と間違いの報告（HTML）", "scores and mistakes, as HTML"),
        "packages/": ("wheel", "the wheel"),
        "configs/": ("学習の設定", "the settings of training"),
        "meta.json": (
            "説明、作者、ライセンス、データの出典。配布する前に記入してください。wheel "
            "のモデルカードに載ります",
            "description, author, licence, sources of the data: fill it in before you pass the "
            "wheel on; its model card shows them",
        ),
    }
    if task in ("adapt", "pretrain"):
        rows = {
            "training/": ("エンコーダーと metrics.json", "the encoder, and metrics.json"),
            "packages/": ("wheel", "the wheel"),
        }
    comments = (
        ("変換から wheel まで", "本文を打ち込んで試す", "使う"),
        ("from the data to a wheel", "type texts at it", "use it"),
    )[lang == "en"]
    module = f"ja_{name}"
    wheel = f"packages/{module}-0.1.0/dist/{module}-0.1.0-py3-none-any.whl"
    table = "\n".join(f"| `{path}` | {text[lang == 'en']} |" for path, text in rows.items())
    again = (
        "入力の変わった段階だけがやり直されます。すべてやり直すには `--force`。設定は project.yml "
        "の `vars` と `configs/` にあります。",
        "A step runs again only if its inputs have changed; `--force` runs all. Settings are in "
        "`vars` of project.yml and in `configs/`.",
    )[lang == "en"]
    return f"""# {name}: {task_name(task, lang)}

```console
$ python -m spacy project run all     # {comments[0]}
$ python -m spacy project run demo    # {comments[1]}
$ pip install {wheel}   # {comments[2]}: spacy.load("{module}")
```

{again}

| | |
|---|---|
{table}
"""


def language() -> Lang:
    """RETURNS (str): ja if that is what the system speaks, or else en."""
    names = [os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
    spoken = next((name for name in names if name), None) or locale.getlocale()[0] or ""
    return "ja" if spoken.lower().startswith(("ja", "japanese")) else "en"
