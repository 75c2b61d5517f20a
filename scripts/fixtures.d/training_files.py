"""Training state as HF Trainer, accelerate and training scripts leave it, all of one tiny Llama."""

import os
import shutil

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import accelerate
import tokenizers
import torch
import transformers


def model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        dtype="float32",
    )
    return transformers.LlamaForCausalLM(config)


def tokenizer():
    """One token a character, as many as the model has rows."""
    vocabulary = {chr(ord("!") + place): place for place in range(64)}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    )


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, place):
        tokens = torch.arange(8) + place
        return {"input_ids": tokens, "labels": tokens}


def trained(folder):
    """A run of HF Trainer with two steps saved, and one more that kept the model only."""
    for name, only in (("run", False), ("model-only", True)):
        arguments = transformers.TrainingArguments(
            output_dir=name,
            max_steps=4,
            save_steps=2,
            per_device_train_batch_size=2,
            report_to=[],
            logging_steps=1,
            use_cpu=True,
            disable_tqdm=True,
            save_only_model=only,
        )
        trainer = transformers.Trainer(
            model=model(),
            args=arguments,
            train_dataset=Numbers(),
            data_collator=transformers.default_data_collator,
            processing_class=tokenizer(),
        )
        trainer.train()
    shutil.rmtree(folder / "model-only" / "checkpoint-2")


def accelerated(folder):
    """What `save_state` leaves: model, optimizer, scheduler, sampler, random states, an object of the script's own."""
    accelerator = accelerate.Accelerator(cpu=True)
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    loader = torch.utils.data.DataLoader(Numbers(), batch_size=2, shuffle=True)
    net, optimizer, schedule, loader = accelerator.prepare(net, optimizer, schedule, loader)
    accelerator.register_for_checkpointing(torch.nn.Linear(2, 2))
    for batch in loader:
        accelerator.backward(net(**batch).loss)
        optimizer.step()
        schedule.step()
        break
    accelerator.save_state(str(folder / "accelerate"))


def dictionaries(folder):
    """One dictionary in one file: a script's, one in Lightning's form, and a recipe's state in torchtune's."""
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    net(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    optimizer.step()
    schedule.step()
    weights = net.state_dict()
    state = {
        "model": weights,
        "optimizer": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "rng_state": torch.get_rng_state(),
        "epoch": 1,
        "global_step": 4,
    }
    torch.save(state, folder / "train_state.pt")
    lightning = {
        "epoch": 0,
        "global_step": 4,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {f"net.{name}": tensor for name, tensor in weights.items()},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 1}}}},
        "callbacks": {},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
    }
    torch.save(lightning, folder / "epoch=0-step=4.ckpt")
    recipe = {"optimizer": optimizer.state_dict(), "seed": 0, "epochs_run": 2, "total_epochs": 3, "max_steps_per_epoch": 4}
    torch.save(recipe, folder / "recipe_state.pt")


def make(folder):
    # training_args.bin holds the path, which is to be the same wherever this runs.
    home = os.getcwd()
    os.chdir(folder)
    trained(folder)
    os.chdir(home)
    accelerated(folder)
    dictionaries(folder)
