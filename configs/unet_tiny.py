# U-Net, 8 channels, 4 stages: for trials, the demo and the tests.
#
#     annoloop retrain --recipe unet_tiny
#
# 0.11 million weights. On two CPU cores (batch 8, crop 64): 0.07 s an iteration, so under a minute
# for its 600 iterations, and 0.7 GB of memory. For results that count take unet_small or a larger one.
# The number of classes, the data and the class weights come from the project.
# ruff: noqa: C408 - mmseg configs are written with dict()
crop_size = (64, 64)
norm_cfg = dict(type="BN", requires_grad=True)
# Leaky, because in a net this narrow a few dead units can cost a whole class.
act_cfg = dict(type="LeakyReLU", negative_slope=0.1)

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=crop_size,
        test_cfg=dict(size_divisor=8),
    ),
    backbone=dict(
        type="UNet",
        in_channels=3,
        base_channels=8,
        num_stages=4,
        strides=(1, 1, 1, 1),
        enc_num_convs=(2, 2, 2, 2),
        dec_num_convs=(2, 2, 2),
        downsamples=(True, True, True),
        enc_dilations=(1, 1, 1, 1),
        dec_dilations=(1, 1, 1),
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        upsample_cfg=dict(type="InterpConv"),
    ),
    decode_head=dict(
        type="FCNHead",
        in_channels=8,
        in_index=3,
        channels=8,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=2,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        align_corners=False,
        # Lovasz follows the overlap of each class, so small objects count; mmseg's DiceLoss takes all
        # classes together and lets them vanish.
        loss_decode=[
            dict(type="CrossEntropyLoss", loss_name="loss_ce", loss_weight=1.0),
            dict(type="LovaszSoftmax", loss_weight=1.0),
        ],
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="ForegroundCrop", crop_size=crop_size, share=0.3),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="PhotoMetricDistortion",
        brightness_delta=16,
        contrast_range=(0.8, 1.2),
        saturation_range=(0.8, 1.2),
        hue_delta=9,
    ),
    dict(type="PackSegInputs"),
]
test_pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]

dataset = dict(type="BaseSegDataset", data_root="data", metainfo=dict(classes=("background", "object")))
train_dataloader = dict(
    batch_size=8,
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

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.003, weight_decay=0.01))
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=1e-6, begin=0, end=600, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=600, val_interval=100)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

# What annoloop adds to mmseg: its own loss and crop, and how it weighs classes and repeats rare images.
custom_imports = dict(imports=["annoloop.training.mmseg.data", "annoloop.training.mmseg.losses"])
annoloop = dict(class_weight_power=0.5, repeat_below=0.0)

default_scope = "mmseg"
default_hooks = dict(logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False))
