"""Options of methods and measures that fit their type and nothing else: out of range, or at odds with others."""

from collections.abc import Iterator

from cases import Case
from cases_options import COUNTED, said

# A line is a name and options that are each tried, without blanks in them; `-` is none.
STEPS = """
drop_layers: keep=0 keep=-1 keep=99 keep=[] keep=[0,0] keep=[7] keep=[-1] drop=0 drop=2 drop=[9] - keep=1,drop=1
drop_layers: drop=-1 until=x until='' keep=1,heal.steps=5 keep=1,heal.steps=-1 keep=1,by=knn_bi drop=1,by=cka_bi
drop_layers: keep=1,by=ablation,task=sise keep=1,limit=0 keep=1,heal.steps=1,heal.lr=-1
drop_layers: keep=1,heal.steps=1,heal.batch=0
drop_layers: keep=1,heal.steps=1,heal.batch=nan keep=1,by=ablation keep=1,seed=-1,by=ablation,task=keywords
drop_layers: keep=9999999999999999999 keep=true
low_rank: - rank=0 rank=-1 rank=4,energy=0.5 energy=0 energy=2 energy=.nan ratio=0 ratio=-1 ratio=.inf
low_rank: rank=4,parts=[] rank=4,parts=[sise] rank=4,round_to=0 rank=4,round_to=-1 rank=4,limit=-1
low_rank: rank=4,by=activation-aware rank=4,parts=[[]] rank=4,round_to=99999999
prune_heads: - keep=-1 keep=99 drop=99 keep=1,drop=1 keep=1,rounds=0 keep=1,rounds=-1 keep=1,by=taylor
prune_heads: keep=1,heal.steps=2 keep=1,by=diagonality keep=1,by=taylor,task=sise keep=1,speech.share=2
prune_heads: keep=1,by=random,seed=-1 keep=1,rounds=1000000000 drop=-1
prune_ffn: - keep=-1 keep=99999 drop=99999 keep=4,drop=4 keep=4,round_to=0 keep=4,rounds=0 keep=4,by=activation
prune_ffn: drop=-1 keep=4,by=taylor keep=4,by=random,seed=-1 keep=4,round_to=1000000
prune_weights: sparsity=-1 sparsity=1.5 sparsity=.nan sparsity=1 pattern=2:4,sparsity=0.3 pattern=block,block=0
prune_weights: pattern=block,block=-1 schedule=cubic,rounds=0 heal.steps=3 between.converge=-1 between.postpone=-1
prune_weights: between.revive=true
prune_weights: rounds=-1 pattern=block,block=1000000 heal.steps=-1
quantize: parts=[] parts=[sise] to=int8-static limit=0 limit=-1
distill: - train.steps=0 train.steps=1,student.layers=99 student.layers=0 match.layers=[99] train.lr=.nan
mimic: - shape.layers=0 shape.layers=-1 shape.width=0 shape.at=99 shape.width=1000000000 train.steps=-1
cut_at_convexity: - labels=sise within=-1 neighbors=0
pretrain: - units.clusters=0 units.clusters=1000000 units.layer=99
finetune: task=sise -
finetune: task=keywords,train=5 task=keywords,train=[1] task=keywords,train=null task=keywords,train={steps:1}
finetune: task=keywords,train.step=1 task=keywords,steps=1 task=keywords,train.seed=1 task=keywords,train.steps=1.5
finetune: task=keywords,train.steps=true task=keywords,train.lr='1' task=keywords,train.steps.a=1
finetune: task=keywords,train.=1
finetune: task=keywords,train.steps=1,train.steps=2 task=keywords,train=null,train.steps=1 task=keywords,batch.size=1
finetune: task=keywords,train.betas=[1,1] task=keywords,train.betas=[0.9] task=keywords,train.eps=0
prune_heads: keep=1,heal=5 keep=1,heal=null keep=1,heal.task=keywords keep=1,heal.lr=0
prune_weights: between=true between.converge=x heal=1,between.revive=1
distill: student=2 student={} match=arm student.layers=1,match.layers=4
mimic: train=5 task_train=true steps=0 task_steps=1 teacher=false train.steps=0
pretrain: clusters=5 units=5 units.context=1,units.layer=1 mask=0.5
"""
WITH_SPEECH = """
drop_layers: keep=1,by=ablation,task=emotion keep=1,by=knn_bi,limit=-1 keep=1,heal.steps=-1 until=1e999% until=5%
drop_layers: keep=1,heal.steps=1,heal.lr=.nan keep=1,by=knn_bi,limit=0 keep=1,heal.steps=1,heal.batch=0
drop_layers: keep=1,heal.steps=1,heal.batch=-1
drop_layers: keep=1,heal.steps=1,heal.batch=.inf
low_rank: rank=4,by=activation-aware,limit=0 rank=4,by=activation-aware,limit=-5
prune_heads: keep=1,by=taylor,task=emotion keep=1,by=taylor,heal.batch=0 keep=1,heal.steps=1,heal.lr=-1
prune_heads: keep=1,by=taylor,task=keywords,speech.share=0 keep=1,by=diagonality,speech.limit=0
prune_ffn: keep=4,by=activation,speech.limit=0 keep=4,by=activation,heal.batch=-1 keep=4,heal.steps=1,heal.batch=0
prune_weights: heal.steps=1,heal.lr=0 heal.steps=1,heal.batch=0 heal.steps=1,task=emotion
quantize: to=int8-static,limit=0 to=int8-static,limit=-1 to=int8-static,parts=[]
distill: train.steps=0 train.steps=1,train.lr=-1 train.steps=1,student.layers=99 train.steps=1,student.layers=0
distill: train.steps=1,student.layers=-1 train.steps=1,match.layers=[99]
distill: train.steps=1,match.layers=[] train.steps=1,match.layers=[-1] train.steps=1,match.temperature=0
distill: train.steps=1,match.share=2 train.steps=1,match.share=-1
distill: train.steps=1,match.span=0 train.steps=1,batch_seconds=0 train.steps=1,batch_seconds=.nan
distill: train.steps=1,train.warmup=2 train.steps=1,train.clip=0
distill: train.steps=1,train.accumulate=0 train.steps=1,dropout=2 train.steps=1,dropout=-1
distill: train.steps=1,train.validate_every=0
distill: train.steps=1,train.save_seconds=-1 train.steps=1,loss=cluster_kl train.steps=1,loss=arm,match.layers=[0,0]
distill: train.steps=1,train.weight_decay=-1
distill: train.steps=1,seed=-1 train.steps=1,match.temperature=.nan,loss=cluster_kl train.steps=1,train.lr=.inf
mimic: train=null train.steps=1,shape.width=0 train.steps=1,shape.layers=99 train.steps=1,shape.at=-1
mimic: train.steps=1,batch=0
mimic: train.steps=1,task_train.steps=-1
mimic: train.steps=1,task=emotion train.steps=1,limit=0 train.steps=1,train.lr=.nan,task_train.lr=.nan
mimic: train.steps=1,shape.width=7,shape.kind=transformer train.steps=1,batch=.nan
cut_at_convexity: labels=emotions neighbors=0 neighbors=-1 pairs=0 limit=0 classes=0 classes=-1 within=.nan
pretrain: train.steps=0,units.clusters=2 train.steps=1,units.clusters=0 train.steps=1,units.clusters=-1
pretrain: train.steps=1,units.clusters=99999
pretrain: train.steps=1,units.clusters=2,units.layer=99 train.steps=1,units.clusters=2,units.layer=-9
pretrain: train.steps=1,units.clusters=2,mask.share=9
pretrain: train.steps=1,units.clusters=2,mask.span=0 train.steps=1,units.clusters=2,mask.unmasked_weight=-1
pretrain: train.steps=1,units.clusters=2,batch_seconds=0
pretrain: train.steps=1,units.clusters=2,noise=-1 train.steps=1,units.clusters=2,speeds=[0]
pretrain: train.steps=1,units.clusters=2,speeds=[-1]
pretrain: train.steps=1,units.clusters=2,speeds=[.nan] train.steps=1,units.clusters=2,units.context=0
pretrain: train.steps=1,units.clusters=2,units.context=-1
pretrain: train.steps=1,units.clusters=2,probe_every=0 train.steps=1,units.clusters=2,speeds=[1e9]
pretrain: train.steps=1,units.clusters=2,train.lr=0
finetune: task=emotion,train.steps=1 task=keywords,train.steps=0 task=keywords,train.steps=1,batch=0
finetune: task=keywords,train.steps=1,batch=-1
finetune: task=keywords,train.steps=1,train.lr=.nan task=keywords,train.steps=1,limit=0
finetune: task=keywords,train.steps=1,limit=-1
finetune: task=keywords,train.steps=1,freeze=[sise] task=keywords,train.steps=1,dropout=7
finetune: task=keywords,train.steps=1,mask_time=7
finetune: task=keywords,train.steps=1,mask_time=-1 task=keywords,train.steps=1,train.patience=0
finetune: task=keywords,train.steps=1,seed=-1
finetune: task=keywords,train.steps=1,train.accumulate=-1 task=keywords,train.steps=1,train.clip=.nan
finetune: task=keywords,train.steps=1,train.warmup=-1
finetune: task=keywords,train.steps=1,train.save_seconds=.nan task=keywords,train.steps=1,train.precision=fp16
"""
MEASURES = """
size: x=1
macs: seconds=0 seconds=-1 seconds=.nan seconds=1e300 seconds=1e12
speed: seconds=0 seconds=.inf batch=0 repeats=0 warm_up=-1 threads=0 seconds=1,threads=-1 seconds=1e12
speed: batch=1000000000 seconds=1e-9
phones: train.steps=0 train.steps=-1 train.steps=1,layer=99 train.steps=1,layer=-9 train.steps=1,train.lr=.nan
phones: train.steps=1,batch=0 train.steps=1,batch=-1
phones: train.steps=1,inner=0 train.steps=1,inner=-1 train.steps=1,limit=0 train.steps=1,limit=-1
phones: train.steps=1,seed=-1 mode=head
phones: mode=finetune,layer=1 train.steps=1,decode.beam=0 mode=finetune,train.steps=1,freeze=[sise]
asr: train.steps=1,decode.beam=-1 train.steps=1,decode.lm=nothing.arpa train.steps=1,decode.beam=1,decode.lm=speech
emotion: train.steps=1
intents: train.steps=1
verification: train.steps=1,train.lr=-1
speakers: train.steps=1,inner=1000000000000
ablation: task=sise task=emotion train.steps=0 train.steps=1,limit=0 train.steps=1,limit=-1
attention: limit=0 limit=-1 seconds=0 seconds=.nan effect=sise seconds=-1 seconds=1e-9
convexity: of=[] k=0 k=-1 pairs=0 of=[emotion] limit=0 classes=0 k=99999 of=[predictions] pairs=-1 classes=-1
euclidean_convexity: pairs=0 pairs=-1 limit=0 seconds=0 seconds=.nan classes=0
layer_orders: by=[] by=[sise] by=[ablation] limit=0 limit=-1
similarity: k=0 k=-1 k=9999 batch=0 batch=1 seconds=0 seconds=.nan seconds=1e9 frames=0 frames=-1 limit=0
similarity: limit=-1 limit=1 other=nothing reading=frames,frames=1 batch=-1
"""
NO_TASK = "a label without a task serves every task with labels"
SEED = "torch takes any whole number for a seed"
UNASKED = "the schedule at once knows no rounds"
STEPS_FINE = {
    "prune_heads:keep=1,speech.share=2": "share is of taylor's data, which l1 does not look at",
    "drop_layers:keep=1,limit=0": "limit is of data, which backward does not look at",
    "low_rank:rank=4,limit=-1": "limit is of data, which svd does not look at",
    "quantize:limit=0": "limit is of data, which int8 does not look at",
    "quantize:limit=-1": "limit is of data, which int8 does not look at",
    "prune_weights:sparsity=1": "a model of zeros is what was asked for",
    "prune_weights:between.postpone=-1": UNASKED,
    "prune_weights:rounds=-1": UNASKED,
    "drop_layers:drop=0": "nothing is to be dropped",
    **dict.fromkeys(
        [
            "phones:train.steps=1,seed=-1",
            "finetune:task=keywords,train.steps=1,seed=-1",
            "prune_ffn:keep=4,by=random,seed=-1",
        ],
        SEED,
    ),
    "prune_heads:keep=1,by=random,seed=-1": SEED,
    **dict.fromkeys(["emotion:train.steps=1", "intents:train.steps=1", "ablation:task=emotion"], NO_TASK),
    "finetune:task=emotion,train.steps=1": NO_TASK,
    "mimic:train=null": "no training was asked for",
    "mimic:train.steps=1,shape.width=7,shape.kind=transformer": "7 units are a width",
    "similarity:k=9999": "as many neighbours as there are",
    "macs:seconds=1e12": COUNTED,
    "macs:seconds=1e300": COUNTED,
    "pretrain:train.steps=1,units.clusters=2,units.context=0": "each frame hears itself",
    "finetune:task=keywords,train.steps=1,train.precision=fp16": "half precision works on a CPU too",
}


def texts(table: str) -> Iterator[str]:
    """`name:options` for each options of a table."""
    for line in table.split("\n"):
        name, _, options = line.partition(": ")
        for option in options.split():
            yield name if option == "-" else f"{name}:{option}"


def cases() -> Iterator[Case]:
    for text in dict.fromkeys(texts(STEPS)):
        words = ["compress", "plain", "--step", text, "-o", "out"]
        yield Case(f"option/{text}", said(words), STEPS_FINE.get(text, ""))
    for text in dict.fromkeys(texts(WITH_SPEECH)):
        words = ["compress", "plain", "--step", text, "-o", "out", "--data", "speech"]
        yield Case(f"option with speech/{text}", said(words), STEPS_FINE.get(text, ""))
    for text in dict.fromkeys(texts(MEASURES)):
        words = ["measure", "plain", "--measure", text, "--data", "speech"]
        yield Case(f"option of a measure/{text}", said(words), STEPS_FINE.get(text, ""))
