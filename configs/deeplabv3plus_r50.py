# DeepLabV3+ with ResNet-50: the strongest of the shipped recipes, for a GPU.
#
#     annoloop retrain --recipe deeplabv3plus_r50 --device cuda
#
# 43.58 million weights; about 15 GB of GPU memory expected (batch 8, crop 512; a smaller batch takes less).
# On a CPU an iteration takes minutes: take unet_small there.
# The backbone starts from ImageNet weights where they are on this machine; without them training
# starts from scratch, says so, and needs several times as many iterations.
# The number of classes, the data and the class weights come from the project.
# ruff: noqa: C408 - mmseg configs are written with dict()
crop_size = (512, 512)
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
        test_cfg=dict(size_divisor=32),
    ),
    backbone=dict(
        type="ResNetV1c",
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        norm_cfg=norm_cfg,
        norm_eval=False,
        style="pytorch",
        contract_dilation=True,
        # Another source, or None to train from scratch, may stand here.
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"),
    ),
    decode_head=dict(
        type="DepthwiseSeparableASPPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        c1_in_channels=256,
        c1_channels=48,
        dropout_ratio=0.1,
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
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=2,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
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

optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-4, weight_decay=0.01))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=500, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=1e-6, begin=500, end=20000, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=20000, val_interval=3333)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

# What annoloop adds to mmseg: its own loss and crop, and how it weighs classes and repeats rare images.
custom_imports = dict(imports=["annoloop.training.mmseg.data", "annoloop.training.mmseg.losses"])
annoloop = dict(class_weight_power=1 / 3, repeat_below=0.1)

default_scope = "mmseg"
default_hooks = dict(logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False))
