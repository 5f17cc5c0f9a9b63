# U-Net, 64 channels, 5 stages, batch norm and dropout: the classic size, for a GPU.
#
#     annoloop retrain --recipe unet --device cuda
#
# 28.99 million weights; about 5 GB of GPU memory expected (batch 8, crop 256). On two CPU cores an iteration
# takes 10 s and more: take unet_small there.
# The number of classes, the data and the class weights come from the project.
# ruff: noqa: C408 - mmseg configs are written with dict()
crop_size = (256, 256)
norm_cfg = dict(type="BN", requires_grad=True)

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
        test_cfg=dict(size_divisor=16),
    ),
    backbone=dict(
        type="UNet",
        in_channels=3,
        base_channels=64,
        num_stages=5,
        strides=(1, 1, 1, 1, 1),
        enc_num_convs=(2, 2, 2, 2, 2),
        dec_num_convs=(2, 2, 2, 2),
        downsamples=(True, True, True, True),
        enc_dilations=(1, 1, 1, 1, 1),
        dec_dilations=(1, 1, 1, 1),
        norm_cfg=norm_cfg,
        act_cfg=dict(type="ReLU"),
        upsample_cfg=dict(type="InterpConv"),
    ),
    decode_head=dict(
        type="FCNHead",
        in_channels=64,
        in_index=4,
        channels=64,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.2,
        num_classes=2,
        norm_cfg=norm_cfg,
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

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.01))
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=1e-6, begin=0, end=20000, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=20000, val_interval=3333)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

# What annoloop adds to mmseg: its own loss and crop, and how it weighs classes and repeats rare images.
custom_imports = dict(imports=["annoloop.training.mmseg.data", "annoloop.training.mmseg.losses"])
annoloop = dict(class_weight_power=1 / 3, repeat_below=0.1)

default_scope = "mmseg"
default_hooks = dict(logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False))
