"""The package's metadata and the only list of its dependencies."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    # transformers' Trainer on Accelerate, the corpus as memory-mapped Arrow, learning curves.
    "pretrain": ["accelerate>=1.0", "datasets>=3.0,<5", "tensorboard>=2.16"],
    # The learning curve of pretraining as a picture; the linear baseline of text classification.
    "report": ["matplotlib>=3.8", "scikit-learn>=1.4"],
    # Search of settings, and its page.
    "tune": ["matplotlib>=3.8", "optuna>=4"],
    # MLflow, writing SQLite without a server, and W&B.
    "track": ["alembic>=1.10", "mlflow-skinny>=3", "sqlalchemy>=2", "wandb>=0.18"],
    # Corpora in .xlsx files.
    "excel": ["openpyxl>=3.1"],
    # Bulk annotation to and from Parquet; .zst.
    "bulk": ["pyarrow>=15"],
    # `jbert export --backend onnx`, and pipelines that it made.
    "onnx": ["onnxruntime>=1.20", "onnx>=1.17"],
    # `jbert index`: search by words, and of more than 100,000 texts by vectors.
    "search": ["bm25s>=0.3", "usearch>=2.16"],
    # `spacy package --build wheel`.
    "package": ["build>=1.2"],
    # project/scripts/train_seq2seq.py: transformers' Trainer, and chrF.
    "seq2seq": ["accelerate>=1.0", "sacrebleu>=2.4"],
    # `jbert annotate --ray`, and with the extra `serve` the service on Ray Serve.
    "ray": ["ray[serve]>=2.44"],
    # `jbert serve`; httptools makes uvicorn faster, fastapi-offline carries Swagger UI.
    "serve": [
        "fastapi>=0.115",
        "fastapi-offline>=1.7",
        "httptools>=0.6",
        "prometheus-client>=0.20",
        "uvicorn>=0.34",
    ],
    # BertJapaneseTokenizer checkpoints that were pretrained on MeCab words (Tohoku v1-v3).
    "mecab": ["fugashi>=1.3", "unidic-lite>=1.0.8", "ipadic>=1.0"],
}
EXTRAS["dev"] = sorted(
    {requirement for extra in EXTRAS.values() for requirement in extra}
    | {
        "build>=1.2",
        # What FastAPI's test client is made of.
        "httpx>=0.27",
        "hypothesis>=6.100",
        "mypy>=1.10",
        # Drives the browser that the report page is tested in; the browser is the system's.
        "playwright>=1.48",
        "pytest>=8",
        "pytest-timeout>=2.4",
        "pytest-xdist>=3.6",
        "ruff>=0.6",
        "types-tqdm",
        "wheel",
    }
)

SHIPPED = {
    "spacy_jbert.project.configs": "configs",
    "spacy_jbert.project.jbert_mini": "project/assets/jbert-mini",
}

setup(
    name="spacy-jbert",
    version="0.1.0",
    description="A first-class Japanese BERT for spaCy: exact wordpieces, entities, "
    "text classification, pretraining, offline wheels",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    # `jbert init` copies the repository's configs and its small encoder: the wheel holds both.
    packages=[*find_packages(include=["spacy_jbert", "spacy_jbert.*"]), *SHIPPED],
    package_dir=SHIPPED,
    package_data={
        "spacy_jbert": ["py.typed", "serving/page/*"],
        "spacy_jbert.tuning": ["spaces/*.cfg"],
        "spacy_jbert.evaluation": ["web/*"],
        "spacy_jbert.project.configs": ["*.cfg"],
        "spacy_jbert.project.jbert_mini": ["*"],
    },
    python_requires=">=3.11,<3.14",
    install_requires=[
        "spacy>=3.8,<3.9",
        "spacy-transformers>=1.4,<1.5",
        # transformers reads no pytorch_model.bin with an older one.
        "torch>=2.6",
        # spacy-transformers 1.4 holds transformers under 4.53.3.
        "transformers>=4.49,<4.53.3",
        "safetensors>=0.4.3",
        "sudachipy>=0.7",
        "sudachidict-core",
        # Two runs in one output folder; torch and transformers want it too.
        "filelock>=3.12",
        "thinc>=8.3.4,<8.4",
        # The report page; spaCy needs it too.
        "jinja2>=3.1",
        # The converters' command lines and tables; rich counts full-width characters as two
        # columns.
        "rich>=13",
        "tqdm>=4.60",
        "typer>=0.9",
    ],
    extras_require=EXTRAS,
    entry_points={
        "spacy_factories": [
            "jbert_transformer = spacy_jbert.pipeline.transformer:make_transformer",
            "jbert_ner = spacy_jbert.pipeline.ner:make_ner",
            "jbert_qa = spacy_jbert.pipeline.qa:make_qa",
            "jbert_seq2seq = spacy_jbert.pipeline.seq2seq:make_seq2seq",
            "jbert_textcat = spacy_jbert.pipeline.textcat:make_textcat",
            "jbert_threshold = spacy_jbert.pipeline.thresholds:make_threshold",
            "jbert_companies = spacy_jbert.pipeline.companies:make_companies",
        ],
        "spacy_tokenizers": [
            "spacy-jbert.SudachiTokenizer.v1 = spacy_jbert.tokenizer.sudachi:sudachi_tokenizer"
        ],
        "spacy_architectures": [
            "spacy-jbert.JapaneseTransformer.v1 = spacy_jbert.models.transformer:build_transformer",
            "spacy-jbert.Tok2VecTransformer.v1 = "
            "spacy_jbert.models.transformer:build_tok2vec_transformer",
            "spacy-jbert.OnnxTransformer.v1 = spacy_jbert.models.onnx:build_onnx_transformer",
            "spacy-jbert.Tok2VecOnnxTransformer.v1 = "
            "spacy_jbert.models.onnx:build_tok2vec_onnx_transformer",
            "spacy-jbert.TransformerListener.v1 = spacy_jbert.models.listener:build_listener",
            "spacy-jbert.TokenClassifier.v1 = "
            "spacy_jbert.models.token_classifier:build_token_classifier",
            "spacy-jbert.PooledTextCat.v1 = spacy_jbert.models.textcat:build_pooled_textcat",
            "spacy-jbert.SpanQA.v1 = spacy_jbert.models.span_qa:build_span_qa",
            "spacy-jbert.ImportedTagger.v1 = spacy_jbert.models.imported:build_imported_tagger",
            "spacy-jbert.ImportedTextCat.v1 = spacy_jbert.models.imported:build_imported_textcat",
        ],
        "spacy_misc": [
            "spacy-jbert.HFEncoder.v1 = spacy_jbert.encoder.loaders:hf_encoder",
            "spacy-jbert.NewEncoder.v1 = spacy_jbert.encoder.loaders:new_encoder",
            "spacy-jbert.TrainedVocabulary.v1 = "
            "spacy_jbert.pretraining.vocabulary:trained_vocabulary",
        ],
        "spacy_cli": [
            "jbert = spacy_jbert.cli.app:app",
        ],
        "spacy_callbacks": [
            "spacy-jbert.pretrain_mlm.v2 = spacy_jbert.pretraining.callback:pretrain_mlm",
            "spacy-jbert.pretrain_mlm.v1 = spacy_jbert.pretraining.deprecated:pretrain_mlm_v1",
            "spacy-jbert.tune_pairs.v1 = spacy_jbert.search.callback:tune_pairs",
            "spacy-jbert.portable.v1 = spacy_jbert.packaging:portable",
            "spacy-jbert.calibrate.v1 = spacy_jbert.evaluation.calibration:calibrate",
            "spacy-jbert.chain_callbacks.v1 = spacy_jbert.callbacks:chain_callbacks",
            "spacy-jbert.resolved_optimizer.v1 = spacy_jbert.callbacks:resolved_optimizer",
        ],
        "spacy_annotation_setters": [
            "spacy-jbert.doc_vectors.v1 = spacy_jbert.pipeline.vectors:doc_vectors",
        ],
        "spacy_loggers": [
            "spacy-jbert.TensorBoardLogger.v1 = spacy_jbert.tracking:tensorboard_logger",
            "spacy-jbert.MLflowLogger.v1 = spacy_jbert.tracking:mlflow_logger",
            "spacy-jbert.RecordLogger.v1 = spacy_jbert.tracking:record_logger",
        ],
        "spacy_readers": ["spacy-jbert.distill.v1 = spacy_jbert.distillation.corpus:distill"],
        "spacy_scorers": [
            "spacy-jbert.ner_scorer.v1 = spacy_jbert.evaluation.scorers:ner_scorer",
            "spacy-jbert.qa_scorer.v1 = spacy_jbert.evaluation.reading:qa_scorer",
            "spacy-jbert.textcat_scorer.v1 = spacy_jbert.evaluation.scorers:textcat_scorer",
        ],
    },
    classifiers=[
        "Intended Audience :: Developers",
        "Natural Language :: Japanese",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
)
