"""Every module has its tests at its own path, and every other test file says what it is about instead."""

from pathlib import Path

TESTS = Path(__file__).parent
CODE = TESTS.parent / "learnkit"

# Modules without a test file of their path, and where they are tested: few, and only where a file would be empty.
TESTED_ELSEWHERE = {
    "__main__.py": "cli/test_main.py",
    "cli/loaded.py": "cli/test_validate.py",
    "data/loading/stream_loader.py": "data/loading/test_from_datasets.py",
    "data/image_table.py": "data/test_round_trips.py",
    "data/table/alike.py": "data/table/test_verify.py",
    "interpretation/learners.py": "interpretation/test_items.py",  # protocols, nothing that runs
    "interpretation/report/protocols.py": "interpretation/report/test_build.py",  # likewise
    "interpretation/report/look_alikes.py": "interpretation/report/test_alike.py",  # plain data
    "interpretation/report/formatting.py": "interpretation/report/test_render.py",
    "learner/answers.py": "learner/test_predictions.py",
    "learner/kept_features.py": "learner/test_similarity.py",
    "schedules.py": "test_public_api.py",  # names from other modules, nothing else
    "splits.py": "test_public_api.py",
    "transforms.py": "test_public_api.py",
}

# Test files that mirror no module: a behavior that several modules have together.
ACROSS_MODULES = {
    "cli/test_processes.py": "every command as a process",
    "data/test_factories.py": "the factories of ImageDataBunch, one way of labeling each",
    "data/test_factory_errors.py": "what the factories refuse",
    "data/test_round_trips.py": "tables of samples used again, and bunches made from them",
    "data/test_layout.py": "batches in the layout that networks and losses of plain PyTorch expect",
    "data/test_images_without_files.py": "images of datasets, DataFrames and lists",
    "data/test_hugging_face.py": "datasets of Hugging Face: unusual images, masks, processes",
    "data/test_real_sets.py": "real data sets, where an environment variable points to them",
    "data/test_warnings.py": "warnings of the factories point at the caller's line",
    "distributed/test_matrix.py": "several processes against one, every case of a script",
    "distributed/test_waits.py": "reads of the device in several processes",
    "distributed/test_faults.py": "an error, a hang, a signal and a kill in one of two processes",
    "test_performance_page.py": "the tables of docs/performance.md are CSV files",
    "test_project_page.py": "the README as other sites show it, by setup.py",
    "test_docstrings.py": "what docstrings of public names say",
    "examples/test_cifar10.py": "the speed recipe runs",
    "examples/test_digits.py": "the example runs",
    "examples/test_gallery.py": "the examples of the gallery",
    "examples/test_jobs.py": "the examples of whole jobs run",
    "examples/test_label_cleaning.py": "the example runs",
    "examples/test_lessons.py": "the examples of what tutorials teach run",
    "examples/test_own_code.py": "the examples of code of one's own do their jobs",
    "examples/test_optuna_study.py": "the example runs",
    "examples/test_scale.py": "the files of examples/scale run, as far as one machine can run them",
    "examples/test_serve.py": "the web service of examples/serve, over HTTP",
    "examples/test_stream.py": "the example runs",
    "examples/test_hugging_face_pages.py": "what docs/data.md and docs/models.md say about Hugging Face",
    "examples/test_streams_page.py": "what docs/streams.md says about WebDataset",
    "examples/test_tutorial.py": "the tutorial is its script",
    "gpu/test_callbacks.py": "every callback on a GPU",
    "gpu/test_graphs.py": "compiled networks that run as CUDA graphs",
    "gpu/test_memory.py": "running out of a GPU's memory",
    "gpu/test_parity.py": "a GPU computes what the CPU does",
    "gpu/test_processes.py": "two processes on one GPU compute what one does",
    "gpu/test_resume.py": "a fit on a GPU that is interrupted and resumed",
    "gpu/test_waits.py": "nothing waits for a GPU within an epoch",
    "inference/test_memory.py": "the memory that predicting takes",
    "interpretation/report/test_browser.py": "the report in a real browser",
    "training/test_device_waits.py": "no part of a fit, a validation or predictions waits for the device per batch",
    "learner/test_binary_masks.py": "masks of two classes and one output, from data to interpretation",
    "learner/test_fit.py": "Learner.fit",
    "learner/test_combined_outputs.py": "certainty of outputs that an activation combines, in every file",
    "learner/test_keys_in_files.py": "the keys of named entries, before and after a file",
    "learner/test_nan_weights.py": "weights that are nan, wherever a learner gets them",
    "learner/test_own_loaders.py": "loaders of a user's own in everything a learner does",
    "learner/test_predict_set.py": "Learner.fit_conformal, predict_set and familiarity, through files",
    "learner/test_added_groups.py": "parameter groups that a callback adds, in every fit",
    "learner/test_ignored_targets.py": "metrics leave out the targets that the loss ignores",
    "learner/test_optimizer_state.py": "what optimizers count in their groups, through files, new layers and nan",
    "learner/test_load_dtypes.py": "data of other types than float32, through a file and from there to other programs",
    "learner/test_real_certainty.py": "coverage and foreign images, measured on real photos",
    "learner/test_golden_files.py": "exports of released versions",
    "learner/test_leave_no_trace.py": "what predicting must not change",
    "learner/test_losses.py": "every kind of loss in fit, validate, get_preds, accumulation, micro-batches and MixUp",
    "learner/test_lr_find.py": "Learner.lr_find",
    "learner/test_outputs.py": "models of several outputs, and batches of any structure, in everything a learner does",
    "learner/test_optimizers.py": "every kind of optimizer in a learner, and layers that change between fits",
    "learner/test_precision.py": "half precision in everything a learner does",
    "learner/test_transformers.py": "image models of transformers in a learner",
    "learner/test_policies.py": "fit_one_cycle, fit_flat_cos, fit_sgdr, fine_tune",
    "learner/test_predictions.py": "Learner.get_preds, predict_iter, predict, validate",
    "learner/test_real_training.py": "training reaches what it should",
    "learner/test_show_results.py": "Learner.show_results",
    "learner/test_several_inputs.py": "models of several inputs in everything that predicts or exports",
    "learner/test_where_files_go.py": "what every writing operation leaves in the data's folder: nothing",
    "learner/test_write_preds.py": "Learner.write_preds",
    "metrics/test_every_metric.py": "every metric equals scikit-learn's, whatever the numbers",
    "models/test_families.py": "every family of networks is built, frozen and trained",
    "models/test_lite0.py": "a published network with its own weights",
    "persistence/deploy/test_half.py": "models of 16 bits in every export",
    "persistence/deploy/test_several_outputs.py": "several outputs that an activation combines, in every export",
    "persistence/lk/test_load_networks.py": "networks of every family through a file",
    "persistence/test_onnx_families.py": "networks of every family through ONNX",
    "test_architecture.py": "rules over the syntax tree of all modules",
    "test_benchmarks.py": "every script of the benchmarks runs",
    "test_coming_from.py": "names of other libraries, and ours for them",
    "test_documents.py": "README and docs",
    "test_every_callback.py": "every callback in the same situations",
    "test_figures.py": "every method that draws",
    "test_facts.py": "facts about training that users rely on",
    "test_import.py": "importing has no side effects",
    "test_mirror.py": "this",
    "test_pages.py": "the code of README and docs",
    "test_public_api.py": "public names and signatures",
    "test_site.py": "what builds the site",
    "test_reference.py": "fits equal to loops written by hand",
}
ACROSS_FOLDERS = {"reliability"}  # attacks, bad inputs, kills, faults: docs/reliability.md


def mirror_of(module: str) -> str:
    """The test file of a module: a/b.py is tested in a/test_b.py."""
    path = Path(module)
    return path.with_name(f"test_{path.name}").as_posix()


def files(root: Path, pattern: str) -> set[str]:
    return {file.relative_to(root).as_posix() for file in root.rglob(pattern)}


MODULES = {name for name in files(CODE, "*.py") if not name.endswith("__init__.py")}
TEST_FILES = files(TESTS, "test_*.py")


def test_every_module_has_its_test_file() -> None:
    untested = {module for module in MODULES if mirror_of(module) not in TEST_FILES} - set(TESTED_ELSEWHERE)
    assert not untested, f"write {', '.join(f'tests/{mirror_of(module)}' for module in sorted(untested))}"
    stale = {module for module in TESTED_ELSEWHERE if module not in MODULES or mirror_of(module) in TEST_FILES}
    assert not stale, "these have a test file of their own, or are gone: take them out of TESTED_ELSEWHERE"
    assert set(TESTED_ELSEWHERE.values()) <= TEST_FILES


def test_every_other_test_file_is_listed() -> None:
    mirrors = {mirror_of(module) for module in MODULES}
    others = {file for file in TEST_FILES - mirrors if Path(file).parts[0] not in ACROSS_FOLDERS}
    new, gone = others - set(ACROSS_MODULES), set(ACROSS_MODULES) - others
    assert not new, f"say in ACROSS_MODULES what {', '.join(sorted(new))} is about, or name it after its module"
    assert not gone, f"take {', '.join(sorted(gone))} out of ACROSS_MODULES"


def test_the_mirror_of_a_module() -> None:
    assert mirror_of("data/table/splits.py") == "data/table/test_splits.py"
    assert mirror_of("seeds.py") == "test_seeds.py"
